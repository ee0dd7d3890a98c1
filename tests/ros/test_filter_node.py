"""The controller node says when its filter acts, and asks for a stop where the filter finds no motion."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from std_msgs.msg import String  # noqa: E402
from test_outputs_modes import HOME, JOINT_POSITION, controller, joint_rows  # noqa: E402

from vla_agent.errors import RobotError  # noqa: E402
from vla_agent.robot.filter.barrier_filter import BarrierFilter  # noqa: E402

INTO_TABLE = np.append(HOME + [0, 0.7, 0, 0, 0, 0, 0], 0.0)


def test_what_the_filter_does_is_on_the_diagnostics():
    with controller() as arm:
        arm.act(JOINT_POSITION, joint_rows(0.0))
        assert arm.node._values()["last filter"] == "" and arm.node._filter_status == ""
        for _ in range(14):
            arm.act(JOINT_POSITION, np.tile(INTO_TABLE, (4, 1)))
        values = arm.node._values()
        acted = [name for name in values if name.startswith("filter: ")]
        assert any("near table" in name for name in acted) and "rad less" in values["last filter"]
        assert arm.node._filter_status.startswith("; the filter acts: ")


def test_without_a_motion_nothing_is_sent_and_a_stop_is_requested(monkeypatch):
    def unsolved(self, *given):
        raise RobotError("the filter before the stop: no motion keeps all limits", found="daqp ended with -1")

    heard: list[str] = []
    with controller() as arm:
        arm._ear.create_subscription(String, "safety/stop", lambda message: heard.append(message.data), 10)
        while not arm._ear.count_publishers("safety/stop"):
            rclpy.spin_once(arm._ear, timeout_sec=0.01)
        arm.act(JOINT_POSITION, joint_rows(0.0))
        sent = len(arm.sent)
        monkeypatch.setattr(BarrierFilter, "apply", unsolved)
        for _ in range(40):
            arm.act(JOINT_POSITION, joint_rows(0.05))
            if heard:
                break
        assert heard[0] == "the filter before the stop: no motion keeps all limits: daqp ended with -1"
        assert len(arm.sent) == sent and "refused: the filter" in arm.refused
