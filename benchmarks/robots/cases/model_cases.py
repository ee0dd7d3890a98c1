"""A robot's model: URDF, xacro and package://; and the policy that drives it, by its contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.robots.cases.case import Case, refused, told, unless
from benchmarks.robots.robot_run import contract_for
from vla_agent.contract import Contract
from vla_agent.robot.control.action_modes import action_layouts, stream_mode
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import Robot, load_robot

MODELS, POLICIES, PLACES = "URDF, xacro, package://", "policies of joint positions", "started outside the source tree"
URDF = """<robot name="arm">
<link name="world"/><link name="base"><collision><geometry><sphere radius="0.05"/></geometry></collision></link>
<link name="upper"/><link name="lower"><collision><geometry><sphere radius="0.04"/></geometry></collision></link>
<link name="tool0"/><link name="finger"/>
<joint name="w" type="fixed"><parent link="world"/><child link="base"/></joint>
<joint name="a" type="revolute"><parent link="base"/><child link="upper"/><axis xyz="0 0 1"/>
  <limit lower="-1" upper="2" velocity="1.5" effort="7"/></joint>
<joint name="b" type="continuous"><parent link="upper"/><child link="lower"/><axis xyz="0 1 0"/>
  <origin xyz="0 0 0.4"/><limit velocity="2" effort="3"/></joint>
<joint name="t" type="fixed"><parent link="lower"/><child link="tool0"/><origin xyz="0.3 0 0"/></joint>
<joint name="g" type="prismatic"><parent link="tool0"/><child link="finger"/><axis xyz="1 0 0"/>
  <limit lower="0" upper="0.04" velocity="0.1" effort="1"/></joint>
{more}</robot>"""
ROBOT = """name: arm
model: {model}
base_frame: {base}
end_effector: {end}
control_hz: 20
home: [0.0, 0.0]
joints:
  - {{name: a, position: [-1, 2], velocity: {speed}, acceleration: 5.0, jerk: 100}}
  - {{name: b, position: [-2, 2], velocity: 1.0, acceleration: 5.0, jerk: 100}}
gripper: {{joint: g, open: 0.04, closed: 0.0}}
workspace: {{low: [-2, -2, -2], high: [2, 2, 2]}}
lookahead: {{guarded: [lower], forbidden: [base]}}
controller: {{type: joint_trajectory, topic: c, gripper_topic: g}}
cameras: []
joint_states: joint_states
{more}"""
XACRO = URDF.replace('name="arm"', 'name="arm" xmlns:xacro="http://ros.org/wiki/xacro"').format(
    more='<xacro:arg name="reach" default="0.1"/><link name="tip"/><joint name="x" type="fixed"><parent link="tool0"/>'
    '<child link="tip"/><origin xyz="$(arg reach) 0 0"/></joint>'
)


def _robot(folder: Path, urdf: str = URDF.format(more=""), name: str = "arm.urdf", **given: str) -> Robot:
    """A robot file beside its model."""
    (folder / name).write_text(urdf, encoding="utf-8")
    values = {"model": name, "base": "base", "end": "tool0", "speed": "1.0", "more": ""} | given
    file = folder / "robot.yaml"
    file.write_text(ROBOT.format(**values), encoding="utf-8")
    return load_robot(file)


def _place(robot: Robot) -> np.ndarray:
    """Of the end effector, at zero: (3,)."""
    return np.asarray(ArmController(robot, "joint_position").forward(np.zeros(2))[0])


def _reaches(make: Callable[[Path], Robot], x: float, folder: Path) -> str:
    place = _place(make(folder))
    return unless(np.allclose(place, [x, 0.0, 0.4], atol=1e-6), place)


def _refused_model(make: Callable[[Path], Robot], words: tuple[str, ...], folder: Path) -> str:
    return refused(lambda: _place(make(folder)), *words)


@contextmanager
def environment(name: str, value: Path):
    """A variable of the environment for a while."""
    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _package(folder: Path) -> Path:
    """A ROS package with the URDF."""
    share = folder / "install" / "share"
    for part in (share / "ament_index/resource_index/packages", share / "arm_description" / "urdf"):
        part.mkdir(parents=True)
    (share / "ament_index/resource_index/packages/arm_description").touch()
    (share / "arm_description/package.xml").touch()
    (share / "arm_description/urdf/arm.urdf").write_text(URDF.format(more=""), encoding="utf-8")
    return folder / "install"


def _in_package(variable: str, uri: str, folder: Path) -> str:
    prefix = _package(folder)
    with environment(variable, prefix if variable == "AMENT_PREFIX_PATH" else prefix / "share"):
        place = _place(_robot(folder, model=uri))
    return unless(np.allclose(place, [0.3, 0.0, 0.4], atol=1e-6), place)


def _own_package(folder: Path) -> str:
    share = _package(folder) / "share" / "arm_description"
    own = f"packages: {{arm_description: {share.relative_to(folder)}}}"
    place = _place(_robot(folder, model="package://arm_description/urdf/arm.urdf", more=own))
    return unless(np.allclose(place, [0.3, 0.0, 0.4], atol=1e-6), place)


def _misspelled_package(folder: Path) -> str:
    with environment("AMENT_PREFIX_PATH", _package(folder)):
        uri = "package://arm_descripton/urdf/arm.urdf"
        return refused(lambda: _place(_robot(folder, model=uri)), "a package such as", "arm_description")


GOOD_MODELS: dict[str, tuple[Callable[[Path], Robot], float]] = {
    "the end effector is a link": (_robot, 0.3),
    "the base frame is the root, world": (partial(_robot, base="world"), 0.3),
    "the base frame has a name of its own": (partial(_robot, base="arm_base"), 0.3),
    "a file without .urdf": (partial(_robot, name="arm.xml", model="arm.xml"), 0.3),
    "xacro with its defaults": (partial(_robot, urdf=XACRO, name="a.urdf.xacro", model="a.urdf.xacro", end="tip"), 0.4),
    "xacro with an argument that is a number": (
        partial(_robot, urdf=XACRO, name="a.urdf.xacro", model="a.urdf.xacro", end="tip", more="xacro: {reach: 0.25}"),
        0.55,
    ),
}
WRONG_MODELS: dict[str, tuple[Callable[[Path], Robot], tuple[str, ...]]] = {
    "an end effector that is not there": (partial(_robot, end="tool_0"), ("end_effector", "nearest: tool0")),
    "a base frame that moves": (partial(_robot, base="lower"), ("base_frame", "joint")),
    "faster than the URDF says": (partial(_robot, speed="1.6"), ("faster", "a velocity", "1.5")),
    "a mesh that is missing": (
        partial(
            _robot,
            urdf=URDF.format(more="").replace('<sphere radius="0.04"/>', '<mesh filename="package://nowhere/a.stl"/>'),
        ),
        ("package://nowhere", "packages"),
    ),
    "no XML": (partial(_robot, urdf="joints: 3"), ("arm.urdf",)),
    "a model that is not there": (partial(_robot, model="arn.urdf"), ("arn.urdf", "missing")),
}


# -- policies ------------------------------------------------------------------------------------------------------


def _fits(name: str, mode: str, _folder: Path) -> str:
    robot = load_robot(name)
    contract = contract_for(robot, mode)
    robot.require(contract, "policy")
    fields = [f"{f.name}.{k}" if f.size > 1 else f.name for f in contract.action for k in range(f.size)]
    found = stream_mode(fields, len(robot.joints), "")
    controller = ArmController(robot, found)
    row = np.zeros(contract.action_dim)
    if mode == "joint_position":
        row[:-1] = robot.home
    controller.rest(np.array(robot.home), 0.0)
    target = controller.command(row, np.array(robot.home))
    return unless(found == mode and np.allclose(target, robot.home, atol=0.02), f"{found}, {target}")


def _told_another(folder: Path) -> str:
    names = action_layouts(7)["joint_position"]
    return refused(lambda: stream_mode(names, 7, "ee_delta"), "joint_position", "ee_delta", "leave")


def _mismatched(change: Callable[[Contract], Contract], words: tuple[str, ...], _folder: Path) -> str:
    robot = load_robot("panda")
    contract = change(contract_for(robot, "joint_position"))
    return refused(lambda: robot.require(contract, "policy"), *words)


def _six(contract: Contract) -> Contract:
    return replace(contract, action=(replace(contract.action[0], size=6), *contract.action[1:]))


def _hand(contract: Contract) -> Contract:
    return replace(contract, cameras=(replace(contract.cameras[0], name="overhead"), *contract.cameras[1:]))


MISMATCHES: dict[str, tuple[Callable[[Contract], Contract], tuple[str, ...]]] = {
    "of six joints for seven": (_six, ("action", "joint_position")),
    "of another rate": (lambda contract: replace(contract, control_hz=15.0), ("control_hz", "15", "20")),
    "of another camera": (_hand, ("overhead", "front")),
}


# -- places --------------------------------------------------------------------------------------------------------


def _elsewhere(words: str, folder: Path) -> str:
    """A command in an empty folder finds what the project ships."""
    with chdir(folder):
        return told(words.split(), 0)


def _model_beside(folder: Path) -> str:
    """A robot file with a relative model, from another folder."""
    (folder / "robots").mkdir()
    _robot(folder / "robots")
    with chdir(folder):
        place = _place(load_robot(Path("robots/robot.yaml")))
    return unless(np.allclose(place, [0.3, 0.0, 0.4], atol=1e-6), place)


def _cases() -> Iterator[Case]:
    for name, (make, x) in GOOD_MODELS.items():
        yield Case(MODELS, name, partial(_reaches, make, x))
    for variable in ("AMENT_PREFIX_PATH", "ROS_PACKAGE_PATH"):
        uri = "package://arm_description/urdf/arm.urdf"
        yield Case(MODELS, f"package:// by {variable}", partial(_in_package, variable, uri))
    yield Case(MODELS, "package:// by the robot file", _own_package)
    yield Case(MODELS, "refused: a misspelled package", _misspelled_package)
    for name, (make, words) in WRONG_MODELS.items():
        yield Case(MODELS, f"refused: {name}", partial(_refused_model, make, words))
    for robot in ("panda", "ur5e", "so101", "xarm7", "fr3"):
        for mode in ("joint_position", "ee_delta"):
            yield Case(POLICIES, f"{robot}: {mode}", partial(_fits, robot, mode))
    yield Case(POLICIES, "refused: another mode than the controller was told", _told_another)
    for name, (change, words) in MISMATCHES.items():
        yield Case(POLICIES, f"refused: {name}", partial(_mismatched, change, words))
    for command in ("inspect policies/tabletop-nano", "robot check panda --policy policies/tabletop-nano"):
        yield Case(PLACES, f"vla-agent {command}", partial(_elsewhere, command))
    yield Case(PLACES, "a model beside its robot file", _model_beside)


CASES = tuple(_cases())
