"""From actions to joint targets: rest and preview, kinematics and poses, robots that do not fit their model."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hypothesis import settings

from tests.robot.planar_robot import PLANAR, joint, write_planar_robot
from vla_agent.contract import Field
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import RobotError
from vla_agent.robot.control.arm_controller import ArmController, action_mode
from vla_agent.robot.control.controller_factory import make_kinematics, make_pose_controller, skeleton
from vla_agent.robot.control.point_velocities import point_velocities
from vla_agent.robot.description import Box, Robot, load_robot
from vla_agent.robot.kinematics.inverse_kinematics import IKSettings, Kinematics
from vla_agent.robot.kinematics.pose_controller import MAX_LAG, MAX_ROTATION, MAX_TRANSLATION
from vla_agent.robot.kinematics.rotation import clip_norm, rotate, rotation_between

PANDA = load_robot("panda")
HOME = np.array(PANDA.home)
QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)


@pytest.fixture(scope="module")
def planar(tmp_path_factory) -> Robot:
    return write_planar_robot(tmp_path_factory.mktemp("planar"))


# The controller


def test_the_mode_is_that_of_the_first_field():
    contract = tabletop_contract()
    assert action_mode(contract) == "ee_delta"
    assert action_mode(tabletop_contract(control="joint_position")) == "joint_position"
    with pytest.raises(RobotError) as caught:
        action_mode(replace(contract, action=(Field("torque", 7, "N m"), *contract.action)))
    assert caught.value.key == "torque"


@pytest.mark.parametrize(("end", "change"), [(0, -2e-6), (1, 2e-6)])
def test_joints_wider_than_the_models_are_refused(planar, end, change):
    exact = [[-np.radians(170), np.radians(170)], [-np.radians(150), np.radians(150)]]
    for beyond, fits in ((change / 4, True), (change, False)):
        ranges = [list(pair) for pair in exact]
        ranges[1][end] += beyond
        joints = tuple(joint(n, position=tuple(pair)) for n, pair in zip("ab", ranges, strict=True))
        robot = planar.model_copy(update={"joints": (*joints, planar.joints[2])})
        if fits:
            ArmController(robot, "joint_position")
            continue
        with pytest.raises(RobotError, match="do not fit the kinematic model"):
            ArmController(robot, "joint_position")


@pytest.fixture
def arm(planar):
    made = ArmController(planar, "joint_position")
    made.rest(np.array([0.2, 0.3, 0.1]), 0.25)
    return made


def test_a_stream_begins_where_the_robot_rests(arm):
    assert arm.gripper == 0.25
    first = arm.command(np.array([0.5, 0.6, 0.2, 1.0]), np.array([0.2, 0.3, 0.1]))
    assert first.tolist() == [0.2, 0.3, 0.1] and arm.gripper == 1.0
    second = arm.command(np.array([0.5, 0.6, 0.2, 0.5]), first)
    assert second == pytest.approx([0.22, 0.32, 0.14]) and arm.gripper == 0.5
    arm.rest(second, 0.0)
    assert arm.command(np.array([0.5, 0.6, 0.2, 0.5]), second).tolist() == second.tolist()
    first[:] = 9.0
    assert arm.command(np.array([0.5, 0.6, 0.2, 0.5]), second).max() < 1


def test_a_controller_that_was_told_nothing_begins_at_the_robots_home(planar):
    made = ArmController(planar, "joint_position")
    assert made.command(np.array([0.5, 0.6, 0.2, 1.0]), np.array(planar.home)).tolist() == list(planar.home)


def test_after_a_missed_command_the_robot_rests_at_the_last_target(arm):
    for _ in range(4):
        moving = arm.command(np.array([1.5, 0.3, 0.1, 0.0]), np.array([0.2, 0.3, 0.1]))
    arm.pause()
    after = arm.command(np.array([1.5, 0.3, 0.1, 0.0]), moving)
    assert after - moving == pytest.approx([0.02, 0, 0]), "from rest, and without a repeated first target"


def test_forward_kinematics_is_that_of_the_arm(arm):
    position, quaternion = arm.forward([0.0, np.pi / 2, 0.1])
    assert position == pytest.approx([0.3, 0.2, 0.1]) and np.abs(quaternion) == pytest.approx([2**-0.5, 0, 0, 2**-0.5])


@pytest.mark.parametrize("mode", ["ee_delta", "joint_position"])
def test_rest_takes_over_the_pose(planar, mode):
    arm = ArmController(planar, mode)
    where = np.array([0.4, 0.5, 0.2])
    arm.rest(where, 0.75)
    inner = arm._controller
    assert inner.joints.tolist() == where.tolist() and inner.gripper == 0.75
    assert np.allclose(inner.position, arm.forward(where)[0]) and np.allclose(inner.quaternion, arm.forward(where)[1])


def test_a_preview_is_what_comes_and_changes_nothing(arm):
    measured = np.array([0.2, 0.3, 0.1])
    plan = np.array([[0.5, 0.6, 0.2, 1.0], [0.6, 0.7, 0.2, 0.0], [0.7, 0.2, 0.0, 0.5], [0.1, 0.2, 0.3, 1.0]])
    arm.command(plan[0], measured)
    before = (*arm._controller.get_state(), *arm._shaper.get_state())
    previewed = arm.preview(plan)
    assert previewed.shape == (4, 3) and arm.gripper == 1.0
    assert all(
        np.array_equal(a, b)
        for a, b in zip(before, (*arm._controller.get_state(), *arm._shaper.get_state()), strict=True)
    )
    came = [arm.command(plan[k:], measured) for k in range(len(plan))]
    assert np.allclose(came, previewed, atol=1e-12)
    assert arm.preview(plan[:0]).shape == (0, 3)


@pytest.mark.parametrize("known", [1, 4])
@pytest.mark.parametrize("way", [(0, 0, -0.02), (0.02, 0, 0), (0, 0, 0.025)])
def test_an_arm_that_something_holds_is_led_by_the_lag_and_no_more(known, way):
    arm, home = ArmController(PANDA, "ee_delta"), np.array(PANDA.home)
    arm.rest(home, 0.0)
    actions = np.tile([*way, 0, 0, 0, 0], (known, 1))
    leads = [arm.forward(arm.command(actions, home))[0] - arm.forward(home)[0] for _ in range(60)]
    assert np.linalg.norm(leads, axis=1).max() <= MAX_LAG[0] + 1e-3
    assert np.linalg.norm(leads[-1]) == pytest.approx(MAX_LAG[0], abs=1e-3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_refused_and_changes_nothing(arm, wrong):
    plan = np.array([[0.5, 0.6, 0.2, 1.0], [0.6, 0.7, 0.2, 0.0]])
    arm.command(plan, np.array([0.2, 0.3, 0.1]))
    before = arm._shaper.get_state()
    broken = plan.copy()
    broken[1, 0] = wrong
    with pytest.raises(RobotError, match="NaN or infinite"):
        arm.command(broken, np.array([0.2, 0.3, 0.1]))
    assert all(np.array_equal(a, b) for a, b in zip(before, arm._shaper.get_state(), strict=True))


def count_calls(arm: ArmController, monkeypatch) -> list:
    calls, original = [], arm._shaper.step
    monkeypatch.setattr(arm._shaper, "step", lambda *args: (calls.append(1), original(*args))[1])
    return calls


def test_steps_of_the_preview_before_are_used_again(arm, monkeypatch):
    plan = np.array([[0.5, 0.6, 0.2, 1.0], [0.6, 0.7, 0.2, 0.0], [0.7, 0.2, 0.0, 0.5], [0.1, 0.2, 0.3, 1.0]])
    fresh = ArmController.preview
    arm.command(plan[0], np.array([0.2, 0.3, 0.1]))
    calls = count_calls(arm, monkeypatch)
    arm.preview(plan)
    assert len(calls) == 4
    arm.command(plan[0], arm._shaper.position)
    calls.clear()
    again = fresh(arm, plan[1:])
    assert not calls, "all three are known"
    arm._preview_steps = []
    assert np.array_equal(fresh(arm, plan[1:]), again) and len(calls) == 3
    arm.command(plan[1], arm._shaper.position)
    calls.clear()
    other = plan[2:].copy()
    other[1, 0] += 1e-9
    previewed = arm.preview(other)
    assert len(calls) == 2, "known up to the one before the first other action"
    arm._preview_steps = []
    assert np.array_equal(arm.preview(other), previewed)


def test_a_preview_that_ends_before_its_actions_computes_one_step_a_command(planar, monkeypatch):
    plan = np.array([[0.3 + 0.03 * k, 0.5, 0.2, 1.0] for k in range(9)])
    arm, twin = (ArmController(planar, "joint_position") for _ in range(2))
    lengths, calls = [], count_calls(arm, monkeypatch)
    for k in range(5):
        target = arm.command(plan[k:], arm._shaper.position)
        assert np.array_equal(target, twin.command(plan[k:], twin._shaper.position))
        calls.clear()
        previewed = arm.preview(plan[k + 1 :], 6)
        lengths.append((len(previewed), len(calls)))
        assert np.allclose(previewed, twin.preview(plan[k + 1 :])[: len(previewed)], atol=1e-12)
    assert lengths == [(6, 6), (6, 1), (6, 1), (5, 0), (4, 0)], "all are known once the actions end"


def test_nothing_is_used_again_after_another_action(arm, monkeypatch):
    plan = np.array([[0.5, 0.6, 0.2, 1.0], [0.6, 0.7, 0.2, 0.0], [0.7, 0.2, 0.0, 0.5]])
    arm.command(plan[0], np.array([0.2, 0.3, 0.1]))
    arm.preview(plan)
    arm.command(plan[0], arm._shaper.position)
    calls = count_calls(arm, monkeypatch)
    other = plan[1:].copy()
    other[0, 0] += 1e-9
    previewed = arm.preview(other)
    assert len(calls) == 2, "though the second action is the same"
    arm._preview_steps = []
    assert np.array_equal(arm.preview(other), previewed)


@pytest.mark.parametrize(("off", "known"), [(5e-7, True), (2e-6, False)])
def test_a_state_that_is_not_the_previewed_one_is_computed_anew(arm, monkeypatch, off, known):
    plan = np.array([[0.5, 0.6, 0.2, 1.0], [0.6, 0.7, 0.2, 0.0]])
    arm.command(plan[0], np.array([0.2, 0.3, 0.1]))
    arm.preview(plan)
    arm.command(plan[0], arm._shaper.position)
    arm._shaper.position = arm._shaper.position + [0, 0, off]
    calls = count_calls(arm, monkeypatch)
    arm.preview(plan[1:])
    assert len(calls) == (0 if known else 1)


# The model


def test_only_what_kinematics_needs_is_kept_of_a_model(planar):
    model = skeleton(planar).compile()
    counts = {n: getattr(model, n) for n in ("ngeom", "nmesh", "nu", "nsensor", "neq", "ntendon", "npair")}
    assert counts == dict.fromkeys(counts, 0) and (model.njnt, model.nsite) == (3, 1)
    assert skeleton(PANDA).compile().nmesh == 0


def test_kinematics_are_those_of_the_robot_file(planar):
    settings_ = planar.kinematics.model_copy(update={"rounds": 3, "null_gain": 0.125})
    made = make_kinematics(planar.model_copy(update={"kinematics": settings_}))
    assert made.settings == IKSettings(3, 0.125) and made.home.tolist() == [0.1, 0.2, 0.05]
    reached = made.inverse(made.home, np.array([0, 9.0, 9.0]), np.array([1.0, 0, 0, 0]), rounds=30)
    assert (reached <= planar.high).all() and reached[2] == pytest.approx(0.3)


def test_the_commanded_position_keeps_to_the_smaller_box_where_there_is_one(planar):
    wide, narrow = Box(low=(-1.0, -1.0, -1.0), high=(1.0, 1.0, 1.0)), Box(low=(0.1, -0.1, 0.0), high=(0.5, 0.3, 0.1))
    none = planar.kinematics.model_copy(update={"workspace": None})
    robot = planar.model_copy(update={"workspace": wide, "kinematics": none})
    assert make_pose_controller(robot, "ee_delta")._limits.low.tolist() == [-1, -1, -1]
    kinematics = robot.kinematics.model_copy(update={"workspace": narrow})
    limits = make_pose_controller(robot.model_copy(update={"kinematics": kinematics}), "ee_delta")._limits
    assert (limits.low.tolist(), limits.high.tolist()) == ([0.1, -0.1, 0.0], [0.5, 0.3, 0.1])
    assert limits.step == pytest.approx([0.1, 0.05, 0.1]), "a period at the velocity limits"


@pytest.mark.parametrize(
    "changes", [{"end_effector": "none"}, {"joints": (joint("none"),), "home": (0.0,)}, {"model": "broken.xml"}]
)
def test_a_model_that_cannot_be_used_is_refused(planar, changes):
    if "model" in changes:
        file = planar.model_path().with_name("broken.xml")
        file.write_text("<mujoco><worldbody><body><geom/></body></worldbody></mujoco>")
        changes = {"model": str(file)}
    with pytest.raises(RobotError, match="cannot be used|missing in the robot's model") as caught:
        make_kinematics(planar.model_copy(update=changes))
    assert caught.value.file == str(planar.model_copy(update=changes).model_path())


# Kinematics


def test_joints_without_a_range_have_none_and_limits_narrow_the_models():
    model = mujoco.MjModel.from_xml_string(PLANAR)
    free = Kinematics(model, ("a", "c"), "tip", np.zeros(2))
    assert free.low.tolist() == pytest.approx([-np.radians(170), -np.inf])
    assert free.high.tolist() == pytest.approx([np.radians(170), np.inf])
    assert free.settings == IKSettings() == IKSettings(4, 0.02)
    wide = Kinematics(model, ("a", "b"), "tip", np.zeros(2), (np.full(2, -9.0), np.full(2, 9.0)))
    assert np.allclose(wide._clip, [wide.low, wide.high])


def test_under_six_joints_the_position_counts_more_than_the_rotation():
    """A planar arm that cannot have both: the position is met within a centimetre, the rotation is not."""
    kinematics = Kinematics(
        mujoco.MjModel.from_xml_string(PLANAR), ("a", "b"), "tip", np.zeros(2), settings=IKSettings(60, 0.0)
    )
    wanted = kinematics.forward(np.array([0.3, 0.9]))[0]
    joints = kinematics.inverse(np.array([0.2, 0.6]), wanted, np.array([np.cos(1.0), 0, 0, np.sin(1.0)]))
    assert np.linalg.norm(kinematics.forward(joints)[0] - wanted) == pytest.approx(0.0109, abs=1e-3)
    assert abs(joints.sum() - 2.0) > 0.5
    assert kinematics._weight.tolist() == [1, 1, 1, 0.05, 0.05, 0.05]
    names = PANDA.joint_names
    six, five = (Kinematics(make_kinematics(PANDA).model, names[:n], "ee", HOME[:n]) for n in (6, 5))
    assert six._weight.tolist() == [1] * 6 and five._weight.tolist() == [1, 1, 1, 0.05, 0.05, 0.05]


def test_a_round_is_damped_least_squares():
    """Two links of 0.3 and 0.2 m: the step by the textbook's formula, with the Jacobian by hand."""
    a, b = 0.4, 0.7
    kinematics = Kinematics(
        mujoco.MjModel.from_xml_string(PLANAR), ("a", "b"), "tip", np.zeros(2), settings=IKSettings(1, 0.0)
    )
    outer = 0.2 * np.array([-np.sin(a + b), np.cos(a + b)])
    inner = outer + 0.3 * np.array([-np.sin(a), np.cos(a)])
    weight = np.array([1, 1, 0.05])
    jacobian = weight[:, None] * np.vstack([np.column_stack([inner, outer]), [1, 1]])
    error = weight * np.array([0.01, 0.02, 0.03])
    step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-3 * 0.05**2 * np.eye(3), error)
    position, _ = kinematics.forward(np.array([a, b]))
    half = (a + b + 0.03) / 2
    wanted = position + [0.01, 0.02, 0], np.array([np.cos(half), 0, 0, np.sin(half)])
    assert kinematics.inverse(np.array([a, b]), *wanted) - [a, b] == pytest.approx(step, abs=1e-10)


def test_the_number_of_rounds_is_that_of_the_call_or_of_the_settings():
    model = mujoco.MjModel.from_xml_string(PLANAR)
    two = Kinematics(model, ("a", "b"), "tip", np.zeros(2), settings=IKSettings(2, 0.01))
    pose = two.forward(np.array([0.4, 0.7]))
    start = np.array([0.1, 0.2])
    once = two.inverse(start, *pose, rounds=1)
    assert np.array_equal(two.inverse(start, *pose), two.inverse(once, *pose, rounds=1)) and start.tolist() == [
        0.1,
        0.2,
    ]


def test_the_null_space_moves_by_its_gain():
    """A held pose of an arm with a spare joint: one round moves the gain's share of the way home, within that space."""
    still = make_kinematics(PANDA)
    away = HOME + [0.3, 0.0, -0.2, 0.0, 0.1, 0.0, 0.0]
    pose = still.forward(away)
    moved = {}
    for gain in (0.0, 0.01, 0.02):
        made = Kinematics(still.model, PANDA.joint_names, "ee", HOME, settings=IKSettings(1, gain))
        moved[gain] = made.inverse(away, *pose) - away
    assert np.abs(moved[0.0]).max() < 1e-9 and np.allclose(moved[0.02], 2 * moved[0.01], atol=1e-9)
    assert moved[0.01] @ (HOME - away) > 0 and np.linalg.norm(still.forward(away + moved[0.02])[0] - pose[0]) < 1e-3
    assert np.abs(moved[0.01]).max() < 0.01 * 0.3 + 1e-6


# Poses


def test_rotations():
    quarter = np.array([0.0, 0.0, np.pi / 2])
    about_x = rotate(np.array([1.0, 0, 0, 0]), np.array([np.pi / 2, 0, 0]))
    turned = rotate(about_x, quarter)
    assert rotation_between(about_x, turned) == pytest.approx(quarter)
    assert rotation_between(turned, about_x) == pytest.approx(-quarter)
    assert turned == pytest.approx([0.5, 0.5, 0.5, 0.5]), "about the base's axis, after the turn about x"


def test_a_vector_is_shortened_only_where_it_is_longer():
    vector = np.array([3.0, 4.0, 0.0])
    assert clip_norm(vector, 5.0) is vector and clip_norm(vector, 9.0) is vector
    assert clip_norm(vector, 2.5).tolist() == [1.5, 2.0, 0.0] and clip_norm(np.zeros(3), 0.0).tolist() == [0, 0, 0]


@pytest.fixture
def pose():
    made = make_pose_controller(PANDA, "ee_delta")
    return made, *made.kinematics.forward(HOME)


def test_the_limits_of_an_action_are_these():
    assert (MAX_TRANSLATION, MAX_ROTATION, MAX_LAG) == (0.025, 0.15, (0.04, 0.3))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1, 1])
def test_each_axis_is_clipped_by_itself(pose, axis, sign):
    controller, position, quaternion = pose
    small = np.full(7, 0.001)
    small[axis], small[3 + axis] = sign * 0.3, sign * 0.3
    controller.command(small, position, quaternion)
    expected = np.where(np.arange(3) == axis, sign * MAX_TRANSLATION, 0.001)
    assert controller.position - position == pytest.approx(expected, abs=1e-9)
    turned = np.where(np.arange(3) == axis, sign * MAX_ROTATION, 0.001)
    assert rotation_between(quaternion, controller.quaternion) == pytest.approx(turned, abs=1e-9)


def test_the_commanded_pose_runs_ahead_of_the_measured_by_the_lag_and_no_more(pose):
    controller, position, quaternion = pose
    for _ in range(5):
        controller.command(np.array([0.02, 0.01, 0, 0, 0.1, 0.1, 0.0]), position, quaternion)
    assert np.linalg.norm(controller.position - position) == pytest.approx(MAX_LAG[0])
    assert np.linalg.norm(rotation_between(quaternion, controller.quaternion)) == pytest.approx(MAX_LAG[1])
    controller.command(np.zeros(7), position + [0.01, 0.005, 0], quaternion)
    assert np.linalg.norm(controller.position - position) == pytest.approx(MAX_LAG[0]), "it need not run back"


@pytest.mark.parametrize(("asked", "taken"), [(-0.1, 0.0), (0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (1.2, 1.0)])
@pytest.mark.parametrize("mode", ["ee_delta", "joint_position"])
def test_the_gripper_is_clipped(mode, asked, taken):
    controller = make_pose_controller(PANDA, mode)
    action = np.zeros(7) if mode == "ee_delta" else np.append(HOME, 0.0)
    action[-1] = asked
    controller.command(action, *controller.kinematics.forward(HOME))
    assert controller.gripper == taken


def test_joint_positions_are_clipped_and_followed_at_their_speed(planar):
    robot = planar.model_copy(update={"joints": (*planar.joints[:2], joint("c", position=(-9.0, 9.0)))})
    controller = make_pose_controller(robot, "joint_position")
    start, (position, quaternion) = controller.joints.copy(), controller.kinematics.forward(HOME[:3])
    controller.command(np.array([0.15, -9.0, 9.0, 0.0]), position, quaternion)
    assert controller.joints - start == pytest.approx([0.05, -0.05, 0.1])
    assert np.allclose(controller.position, controller.kinematics.forward(controller.joints)[0])
    for _ in range(60):
        controller.command(np.array([9.0, -9.0, 0.0, 0.0]), position, quaternion)
    assert controller.joints[:2] == pytest.approx([np.radians(170), -np.radians(150)])


def test_states_of_a_pose_controller_are_copies(pose):
    controller, position, quaternion = pose
    state = controller.get_state()
    controller.command(np.array([0.02, 0, 0, 0.1, 0, 0, 0.7]), position, quaternion)
    after = controller.get_state()
    controller.set_state(state)
    assert controller.gripper == 0.0 and np.array_equal(controller.joints, HOME)
    controller.joints += 1
    assert np.array_equal(state[0], HOME)
    controller.set_state(after)
    assert controller.gripper == 0.7 and np.array_equal(controller.position, after[1])


def test_velocities_at_points_are_harmonic_means_and_zero_where_a_joint_turns_round_or_rests():
    path = np.array([[1.0, 0.0], [3.0, 0.2], [3.5, 0.2], [2.0, 0.4], [1.0, 0.4]])
    found = point_velocities(np.zeros(2), path, 0.5)  # slopes 2, 4, 1, -3, -2 and 0, 0.4, 0, 0.4, 0
    np.testing.assert_allclose(found[:, 0], [8 / 3, 1.6, 0.0, -2.4, 0.0])
    np.testing.assert_allclose(found[:, 1], 0.0)
    back = point_velocities(np.zeros(1), np.array([[0.5], [0.1], [0.1]]), 1.0)  # turns round slowly
    np.testing.assert_allclose(back, 0.0)
