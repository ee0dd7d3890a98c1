"""Xacro as a robot's model: expanded in a process that computes, and does nothing else."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.model.loading import load_model
from vla_agent.robot.model.source import ModelSource
from vla_agent.robot.model.xacro_child import check_expression
from vla_agent.robot.model.xacro_files import expand_xacro

expanded = pytest.mark.skipif(find_spec("xacro") is None, reason="no xacro: pip install xacro")
HEAD = '<robot name="arm" xmlns:xacro="http://ros.org/wiki/xacro">'
ARM = (
    HEAD
    + """<xacro:arg name="length" default="0.1"/>
<xacro:include filename="$(find parts)/joint.xacro"/><xacro:include filename="more.xacro"/>
<xacro:property name="limits" value="${xacro.load_yaml('limits.yaml')}"/>
<link name="base"/><link name="tip"/>
<xacro:bend name="a" parent="base" child="tip" z="$(arg length)" top="${limits.a.upper * 2 + radians(0)}"/></robot>"""
)
JOINT = (
    HEAD
    + """<xacro:macro name="bend" params="name parent child z top"><joint name="${name}" type="revolute">
<parent link="${parent}"/><child link="${child}"/><origin xyz="0 0 ${z}"/><axis xyz="0 1 0"/>
<limit lower="${-pi/2}" upper="${top}" velocity="1" effort="1"/></joint></xacro:macro></robot>"""
)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "robot/parts").mkdir(parents=True)
    (tmp_path / "robot/parts/joint.xacro").write_text(JOINT)
    (tmp_path / "robot/more.xacro").write_text(HEAD + "</robot>")
    (tmp_path / "robot/limits.yaml").write_text("a: {upper: 0.75}\n")
    (tmp_path / "robot/linked.xacro").symlink_to(tmp_path / "secret.xacro")
    (tmp_path / "secret.xacro").write_text(HEAD + '<link name="secret"/></robot>')
    return tmp_path / "robot"


def load(folder: Path, text: str, **arguments: str):
    file = folder / "arm.urdf.xacro"
    file.write_text(text)
    packages = {"parts": str(folder / "parts")}
    return load_model(ModelSource(file, folder, "tip", "base", packages, arguments), geometry=False)


@expanded
def test_arguments_includes_packages_and_yaml_make_the_robot(folder):
    joint = load(folder, ARM, length="0.4").urdf.joints[0]
    assert joint.position == pytest.approx((-1.5708, 1.5), abs=1e-4)
    assert load(folder, ARM, length="0.4").spec.body("tip").pos.tolist() == pytest.approx([0, 0, 0.4])


ATTACKS = {
    "a file elsewhere": '<xacro:include filename="../secret.xacro"/>',
    "a link to elsewhere": "<link name=\"${xacro.load_yaml('linked.xacro')}\"/>",
    "a function's own names": '<link name="${python.vars(python.type(1))}"/>',
    "an import": "<link name=\"${__import__('os')}\"/>",
    "much memory": "<link name=\"${len('x' * 10 ** 10)}\"/>",
    "a macro that calls itself": '<xacro:macro name="m"><xacro:m/></xacro:macro><xacro:m/>',
    "a package that is not there": '<xacro:include filename="$(find partz)/x.xacro"/>',
}


@expanded
@pytest.mark.parametrize("inner", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_a_robot_does_not_need_is_refused_and_named(folder, inner):
    with pytest.raises(RobotError) as caught:
        load(folder, f"{HEAD}{inner}</robot>")
    assert caught.value.what == "the robot's xacro file cannot be expanded" and "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["a.__class__", "x._y", "f.gi_frame", "[f.f_globals]", "lambda: 1", "(x for x in y)", "s.format(1)", "__import__"],
)
def test_an_expression_names_nothing_that_leads_to_code(text):
    with pytest.raises(ValueError, match="not allowed"):
        check_expression(text)


@pytest.mark.parametrize("text", ["pi/2", " a.b['c'] * 2", "'x' in d", "[1, 2][0]", "s.split(' ')[1]", "a if b else c"])
def test_what_descriptions_use_is_computed(text):
    check_expression(text)


def test_without_xacro_the_remedy_is_named(folder, monkeypatch):
    monkeypatch.setattr("vla_agent.robot.model.xacro_files._import_path", lambda: str(folder))
    monkeypatch.setattr("vla_agent.robot.model.xacro_files.COMMAND", ("-c", 'print(\'{"missing": "No module"}\')'))
    (folder / "arm.urdf.xacro").write_text(ARM)
    with pytest.raises(RobotError, match="needs xacro") as caught:
        expand_xacro(ModelSource(folder / "arm.urdf.xacro", folder))
    assert "pip install xacro" in caught.value.remedy
