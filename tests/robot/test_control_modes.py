"""What an action is follows from what the policy sends; a contradiction is refused before anything moves."""

from __future__ import annotations

import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.control.action_modes import EE_DELTA, MODES, action_layouts, stream_mode

JOINTS = action_layouts(7)["joint_position"]


def test_the_mode_is_that_of_the_components_in_any_order():
    assert tuple(action_layouts(7)) == MODES
    for mode, layout in action_layouts(7).items():
        assert stream_mode(layout, 7, "") == stream_mode(layout[::-1], 7, mode) == mode
    assert len(JOINTS) == 8 and len(EE_DELTA) == 7


@pytest.mark.parametrize(
    "names", [JOINTS[:-1], JOINTS[1:], [*JOINTS, "gripper"], EE_DELTA[1:], EE_DELTA + JOINTS, [], ["gripper"] * 8]
)
def test_other_components_are_refused_and_the_right_ones_are_named(names):
    with pytest.raises(RobotError, match="none that this arm takes") as caught:
        stream_mode(names, 7, "")
    assert "joint_position.6" in str(caught.value) and "ee_rotation.2" in str(caught.value)


def test_joint_positions_of_another_arm_are_refused():
    with pytest.raises(RobotError):
        stream_mode(JOINTS, 6, "")


@pytest.mark.parametrize(("names", "demanded"), [(JOINTS, "ee_delta"), (EE_DELTA, "joint_position")])
def test_a_mode_that_contradicts_the_policy_is_refused(names, demanded):
    with pytest.raises(RobotError, match=f"was told {demanded}") as caught:
        stream_mode(names, 7, demanded)
    assert caught.value.key == "mode" and "leave" in caught.value.remedy
