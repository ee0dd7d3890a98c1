"""A person's commands: keys, gamepad and leader arm as actions, and the hand-over between the policy and a person."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_agent.errors import NodeError
from vla_agent.robot.control.controller_factory import make_pose_controller
from vla_agent.robot.description import load_robot
from vla_agent.robot.kinematics.rotation import rotation_between
from vla_agent.ros.teleop.hand_over import PATIENCE, HandOver, Step
from vla_agent.ros.teleop.leader import LeaderMapping, PoseFollower
from vla_agent.ros.teleop.motion import HELD, KEYS, SILENT, Gamepad, Keyboard, ee_delta

LEADER = {
    "leader_joints": "",
    "leader_signs": "",
    "leader_offsets": "",
    "leader_gripper": "handle",
    "leader_gripper_open": 0.0,
    "leader_gripper_closed": 2.0,
}
NAMES = ("a", "b")


def test_each_key_moves_one_axis_for_a_moment():
    assert sorted(KEYS.values()) == sorted((axis, sign) for axis in range(6) for sign in (1, -1))
    for key, (axis, sign) in KEYS.items():
        keyboard = Keyboard()
        keyboard.press(key.upper(), 1.0)
        wish = keyboard.wish(1.0 + 0.9 * HELD)
        assert wish.axes[axis] == sign and np.abs(wish.axes).sum() == 1 and not wish.takes
        assert not keyboard.wish(1.0 + HELD).axes.any()


def test_keys_take_over_give_back_close_and_stop():
    keyboard = Keyboard()
    for key, takes, gripper in (
        (" ", True, 0.0),
        ("g", True, 1.0),
        ("?", True, 1.0),
        ("g", True, 0.0),
        (" ", False, 0.0),
    ):
        keyboard.press(key, 0.0)
        wish = keyboard.wish(0.0)
        assert (wish.takes, wish.gripper) == (takes, gripper)
    assert not keyboard.stops
    keyboard.press("x", 0.0)
    assert keyboard.stops


def test_a_gamepad_commands_while_its_button_is_held_and_it_speaks():
    pad = Gamepad([2, -1, 0, 0, 0, 3], [1, 0, 2])
    pad.read([0.5, -2.0, 0.05], [0, 1, 0], now=1.0)
    wish = pad.wish(1.0)
    assert wish.takes and wish.axes.tolist() == [-1.0, -0.5, 0, 0, 0, 0], "reversed, clipped, none, dead zone"
    assert not pad.wish(1.0 + SILENT).takes and not pad.wish(1.0 + SILENT).axes.any()
    pad.read([0.5, 0, 0], [1, 0, 0], now=2.0)
    assert not pad.wish(2.0).takes and not pad.wish(2.0).axes.any() and pad.wish(2.0).gripper == 1.0
    pad.read([0, 0, 0], [0, 1, 1], now=3.0)
    assert pad.wish(3.0).takes and pad.wish(3.0).gripper == 0.0
    for axes, buttons in (([0, 0], [0, 1, 0]), ([0, 0, 0], [0, 1]), ([0, 0, np.nan], [0, 1, 0])):
        pad.read(axes, buttons, now=4.0)
        assert not pad.wish(4.0).takes and pad.problem


@pytest.mark.parametrize(("axes", "buttons"), [([1] * 5, [0, 1, 2]), ([1] * 6, [0, 1]), ([1] * 6, [0, -1, 2])])
def test_a_gamepads_mapping_is_whole_or_refused(axes, buttons):
    with pytest.raises(NodeError, match="mapping"):
        Gamepad(axes, buttons)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=3, max_size=8), st.integers(0, 2**6 - 1)
)
def test_whatever_a_gamepad_says_an_action_is_finite_and_within_its_speed(axes, bits):
    pad = Gamepad([1, 2, 3, 0, 0, -1], [0, 1, 2])
    pad.read(axes, [bits >> k & 1 for k in range(6)], now=0.0)
    action = ee_delta(pad.wish(0.0), step=0.005, turn=0.025)
    assert action.shape == (7,) and np.isfinite(action).all()
    assert np.abs(action[:3]).max() <= 0.005 and np.abs(action[3:6]).max() <= 0.025 and action[6] in (0.0, 1.0)


def test_a_leader_arm_leads_joint_by_joint():
    mapping = LeaderMapping.checked(NAMES, LEADER | {"leader_signs": "1, -1", "leader_offsets": "0.5,1"})
    assert mapping.joints == NAMES
    assert mapping.targets(np.array([1.0, 0.25])).tolist() == [1.5, 0.75]
    assert [mapping.fraction(x) for x in (-1.0, 0.0, 1.0, 3.0)] == [0.0, 0.0, 0.5, 1.0]
    plain = LeaderMapping.checked(NAMES, LEADER | {"leader_joints": "l1, l2"})
    assert plain.joints == ("l1", "l2") and plain.targets(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("leader_joints", "a"),
        ("leader_signs", "1,2"),
        ("leader_signs", "1,"),
        ("leader_offsets", "0,nan"),
        ("leader_offsets", "0,inf"),
        ("leader_offsets", "0,1,2"),
        ("leader_gripper_closed", 0.0),
    ],
)
def test_a_leaders_mapping_is_whole_or_refused(key, value):
    with pytest.raises(NodeError) as error:
        LeaderMapping.checked(NAMES, LEADER | {key: value})
    assert error.value.key == key


def test_a_pose_is_followed_step_by_step_within_the_limits():
    robot = load_robot("panda")
    kinematics = make_pose_controller(robot, "ee_delta").kinematics
    home = kinematics.home.copy()
    target = home + 0.15
    follower = PoseFollower(kinematics.forward, home, (0.02, 0.1))
    position, quaternion = kinematics.forward(home)
    wanted, turned = kinematics.forward(target)
    steps = [follower.step(target) for _ in range(40)]
    assert np.abs([step[:3] for step in steps]).max() <= 0.02 and np.abs([step[3:] for step in steps]).max() <= 0.1
    assert np.allclose(position + sum(step[:3] for step in steps), wanted, atol=1e-6)
    assert np.abs(steps[-1]).max() < 1e-6, "it has arrived"
    assert np.abs(rotation_between(quaternion, turned)).max() > 0.1, "the target was more than one step away"


ROW = np.array([0.01, 0.02, 1.0])
COMPONENTS = ("ee_translation.0", "ee_rotation.0", "gripper")
PERIOD = 0.05


def test_a_person_s_actions_follow_the_policy_s_and_the_arm_is_held_until_the_policy_acts():
    hands = HandOver(PERIOD)
    assert hands.take((), None, COMPONENTS, 0.0) is Step.NOTHING and not hands.active, "an end without a beginning"
    assert hands.fits(9.0) and hands.fits(1.03), "the clock began again: nobody took over"
    assert hands.take(COMPONENTS, ROW, COMPONENTS, 1.05) is Step.DROP and hands.taken
    assert hands.take(COMPONENTS, ROW, COMPONENTS, 1.09) is Step.PASS
    assert hands.wait(9.0, True) is Step.NOTHING, "the person commands"
    assert hands.take((), None, COMPONENTS, 1.1) is Step.NOTHING and hands.active and not hands.taken
    assert hands.wait(1.139, True) is Step.NOTHING
    held = []
    for now in (1.141, 1.20):
        assert hands.wait(now, True) is Step.HOLD
        row, stamp = hands.hold()
        held.append(stamp)
        assert row.tolist() == [0.0, 0.0, 1.0], "the arm stays, and the gripper as it was"
    assert np.allclose(held, [1.14, 1.19])
    assert not hands.fits(1.2) and hands.fits(1.24) and not hands.active
    assert hands.wait(9.0, True) is Step.NOTHING


def test_the_arm_rests_where_the_policy_does_not_come_back_or_has_no_instruction():
    for now, instructed in ((1.2, False), (1.1 + PATIENCE + 0.01, True)):
        hands = HandOver(PERIOD)
        hands.take(COMPONENTS, ROW, COMPONENTS, 1.0)
        hands.take((), None, COMPONENTS, 1.1)
        assert hands.wait(now, instructed) is Step.END and not hands.active
        assert hands.wait(now, instructed) is Step.NOTHING


def test_other_components_are_refused_and_a_stop_ends_a_takeover():
    hands = HandOver(PERIOD)
    assert hands.take(("a",), ROW[:1], COMPONENTS, 1.0) is Step.REFUSE and not hands.taken
    assert hands.take(COMPONENTS, ROW * np.nan, COMPONENTS, 1.0) is Step.REFUSE and not hands.taken
    assert hands.take(COMPONENTS, ROW, COMPONENTS, 1.0) is Step.PASS
    hands.release()
    assert not hands.active
    assert hands.take(COMPONENTS, ROW, COMPONENTS, 0.5) is Step.PASS
    assert hands.fits(50.0) and hands.take(COMPONENTS, ROW, COMPONENTS, 0.6) is Step.PASS, "a clock that began again"
