"""The robot file: what is refused, and that the policy's contract is checked against it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.world.panda import MAX_JOINT_STEP, panda_kinematics
from vla_agent.contract import Camera
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import RobotError
from vla_agent.robot.description import canonical_name, load_robot
from vla_agent.ros.runtime.sim_robot import SimRobot

PANDA = Path(__file__).parents[2] / "config" / "robots" / "panda.yaml"


def test_the_panda_is_the_simulated_one():
    robot, kinematics = load_robot("panda"), panda_kinematics()
    assert np.allclose(robot.low, kinematics.low) and np.allclose(robot.high, kinematics.high)
    assert robot.model_path().is_file()
    assert (robot.limits("velocity") * robot.period <= MAX_JOINT_STEP + 1e-3).all()
    assert robot.mismatches(tabletop_contract()) == []


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("velocity: 2.61, acceleration: 15.0, jerk: 7500", "velocity: 2.61, jerk: 7500", "joints.4.acceleration"),
        ("acceleration: 7.5", "acceleration: -7.5", "joints.1.acceleration"),
        ("jerk: 3750", "jerk: .inf", "joints.1.jerk"),
        ("position: [-1.7628, 1.7628]", "position: [1.7628, -1.7628]", "joints.1"),
        ("home: [0.0, ", "home: [", "file"),
        ("max_effort: 3.0", "max_effort: 0.0", "gripper.max_effort"),
        ("type: joint_trajectory", "type: wheels", "controller.type"),
        ("joint_states: joint_states", "joint_states: joint_states\nspeed: 3", "speed"),
    ],
)
def test_what_is_missing_or_impossible_is_refused(tmp_path, old, new, key):
    text = PANDA.read_text()
    assert old in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(old, new))
    with pytest.raises(RobotError) as caught:
        load_robot(file)
    assert key in str(caught.value) and str(file) in str(caught.value)


def test_all_problems_are_named_at_once(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(PANDA.read_text().replace("jerk: 3750", "jerk: 0").replace("control_hz: 20", "control_hz: fast"))
    with pytest.raises(RobotError) as caught:
        load_robot(file)
    assert "joints.1.jerk" in str(caught.value) and "control_hz" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "near"),
    [
        ("joint_states: joint_states", "joint_state: joint_states", "joint_states"),
        ("guarded:", "gaurded:", "guarded"),
        ("velocity: 2.61", "velocty: 2.61", "velocity"),
        ("frame: camera_front", "frame: camera_front, transprt: raw", "transport"),
        ("gripper_topic:", "griper_topic:", "gripper_topic"),
        ("gripper_topic: robot/gripper", "gripper: {type: franka, topic: g, forze: 3}", "force"),
        ("max_effort: 3.0", "max_efort: 3.0", "max_effort"),
    ],
)
def test_a_misspelled_key_is_refused_with_the_nearest(tmp_path, old, new, near):
    file = tmp_path / "mine.yaml"
    assert old in PANDA.read_text()
    file.write_text(PANDA.read_text().replace(old, new))
    with pytest.raises(RobotError, match=f"did you mean {near}\\?"):
        load_robot(file)
    file.write_text(PANDA.read_text() + "unlike_any: 3\n")
    with pytest.raises(RobotError, match="keys here: name, model,"):
        load_robot(file)


def test_the_simulated_gripper_presses_less_than_what_stops_the_robot_and_its_fault_presses_more():
    robot = load_robot("panda")
    simulated = SimRobot(robot, "put_in_tray", (16, 16))
    efforts = []
    for closed in (1.0, 0.0, 1.0):
        simulated.set_gripper_target(closed)
        for _ in range(8):
            simulated.step()
            efforts.append(simulated.read().efforts)
    assert np.shape(efforts) == (24, 8) and 0.1 < np.abs(efforts)[:, -1].max() <= 2.5 < robot.gripper.max_effort
    simulated.disturb(fault="gripper_force")
    assert simulated.read().efforts[-1] > robot.gripper.max_effort
    before = simulated._target.copy()
    simulated.set_targets([robot.gripper.joint, *robot.joint_names[:1:-1]], np.array([0.4, *before[:1:-1] + 0.05]))
    assert np.allclose(simulated._target - before, [0, 0, *[0.05] * 5]) and simulated._gripper == pytest.approx(0.5)
    for wrong in ([0.1], [np.nan, 0.1]):  # as a controller that refuses them
        simulated.set_targets(robot.joint_names[:2], np.array(wrong))
    assert np.allclose(simulated._target[:2], before[:2])
    simulated.close()


def test_an_unknown_robot_is_refused_with_the_names_of_all():
    with pytest.raises(RobotError, match=r"panda \(or franka.*so101"):
        load_robot("no_such_robot")
    with pytest.raises(RobotError, match="did you mean ur5e?"):
        load_robot("ur5")


def test_a_robot_has_one_name_and_known_aliases():
    assert load_robot("franka") == load_robot("Franka_Panda") == load_robot("panda")
    assert load_robot("franka").name == canonical_name("franka") == "panda"
    assert canonical_name("mine") == "mine"


def test_every_mismatch_with_a_policy_is_listed_at_once():
    contract = tabletop_contract()
    other = replace(contract, cameras=(*contract.cameras, Camera("side", 96, 96)), control_hz=10.0)
    with pytest.raises(RobotError) as caught:
        load_robot("panda").require(other, "some/policy")
    message = str(caught.value)
    assert "camera side" in message and "control_hz" in message and "some/policy" in message
