"""Joint values of one message, and their bounds."""

from types import SimpleNamespace

import pytest

from vla_agent.errors import ObservationError
from vla_agent.robot import sensor_messages
from vla_agent.robot.sensor_messages import joint_positions


def test_joints_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(sensor_messages, "JOINTS", 3)
    state = SimpleNamespace(name=["a", "b", "q"], position=[1.0, 2.0, 3.0], velocity=[0.0] * 4)
    assert joint_positions(state, ["q", "a"]).tolist() == [3.0, 1.0]
    with pytest.raises(ObservationError, match="at most 3 joints"):
        joint_positions(state, ["q"], "velocity")
    state.name.append("r")
    with pytest.raises(ObservationError, match="4 names"):
        joint_positions(state, ["q"])
