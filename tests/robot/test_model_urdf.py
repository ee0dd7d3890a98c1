"""URDF as a robot's model: what MuJoCo is given, where files are looked for, and what is refused."""

from __future__ import annotations

import struct
from itertools import chain
from pathlib import Path

import mujoco
import numpy as np
import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.control.arm_controller import ArmController
from vla_agent.robot.description import load_robot
from vla_agent.robot.model.loading import load_model
from vla_agent.robot.model.source import ModelSource, locate_model
from vla_agent.robot.safety.lookahead import LookAhead

URDF = """<robot name="arm">
<link name="world"/><link name="mount"/><link name="turned"/>
<joint name="m" type="fixed"><parent link="world"/><child link="mount"/><origin xyz="0 0 0.5" rpy="0 0 0.3"/></joint>
<joint name="t" type="fixed"><parent link="mount"/><child link="turned"/>
  <origin xyz="0.1 0 0" rpy="0 0 3.14159265"/></joint>
<link name="upper"><visual><geometry><mesh filename="package://nowhere/upper.dae"/></geometry></visual>
  <collision><origin xyz="0 0 0.1"/><geometry>{shape}</geometry></collision></link>
<joint name="a" type="revolute"><parent link="turned"/><child link="upper"/><axis xyz="0 0 1"/>
  <limit lower="-1" upper="2" velocity="1.5" effort="7"/></joint>
<link name="lower"><collision><geometry><sphere radius="0.06"/></geometry></collision></link>
<joint name="b" type="continuous"><parent link="upper"/><child link="lower"/><axis xyz="0 1 0"/>
  <origin xyz="0 0 0.2"/><limit velocity="2" effort="3"/></joint>
<link name="tool"/>
<joint name="f" type="fixed"><parent link="lower"/><child link="tool"/><origin xyz="0 0 0.3"/></joint>
<link name="finger"><collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision></link>
<joint name="g" type="prismatic"><parent link="tool"/><child link="finger"/><axis xyz="1 0 0"/>
  <limit lower="0" upper="0.04" velocity="0" effort="0"/></joint>
{more}</robot>"""
BOX = '<box size="0.1 0.1 0.4"/>'


def urdf(shape: str = BOX, more: str = "") -> str:
    return URDF.format(shape=shape, more=more)


def stl() -> bytes:
    corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    parts = [struct.pack("<12fH", 0, 0, 0, *chain(*(corners[i] for i in face)), 0) for face in faces]
    return bytes(80) + struct.pack("<I", len(faces)) + b"".join(parts)


def load(folder: Path, text: str, **given: object):
    file = folder / "arm.urdf"
    file.write_text(text)
    return load_model(ModelSource(file, folder, **({"end_effector": "tool", "base_frame": "mount"} | given)))


ROBOT = """name: arm
model: {model}
base_frame: mount
end_effector: tool
control_hz: 20
home: [0.0, 0.0]
joints:
  - {{name: a, position: [-1, 2], velocity: 1.0, acceleration: 5.0, jerk: 100}}
  - {{name: b, position: [-2, 2], velocity: 1.0, acceleration: 5.0, jerk: 100}}
gripper: {{joint: g, open: 0.04, closed: 0.0}}
workspace: {{low: [-2, -2, -2], high: [2, 2, 2]}}
lookahead: {{guarded: [{guarded}], forbidden: [{forbidden}]}}
controller: {{type: joint_trajectory, topic: c, gripper_topic: g}}
cameras: []
joint_states: joint_states
{more}"""


def robot(folder: Path, text: str | None = None, model="arm.urdf", guarded="lower", forbidden="", more=""):
    (folder / "arm.urdf").write_text(text or urdf())
    file = folder / "robot.yaml"
    file.write_text(ROBOT.format(model=model, guarded=guarded, forbidden=forbidden, more=more))
    return load_robot(file)


def test_links_keep_their_names_limits_come_along_and_the_end_effector_is_a_link(tmp_path):
    model = load(tmp_path, urdf())
    compiled = model.spec.compile()
    assert compiled.joint("a").range.tolist() == pytest.approx([-1, 2])
    assert compiled.jnt_actfrcrange[compiled.joint("a").id].tolist() == pytest.approx([-7, 7])
    assert not compiled.jnt_limited[compiled.joint("b").id] and compiled.site("tool").id == 0
    assert model.velocities() == {"a": 1.5, "b": 2.0}, "0 means that none is stated"
    assert [joint.name for joint in model.urdf.moving()] == ["a", "b", "g"]


@pytest.mark.parametrize(
    ("base", "there"), [("mount", [0.1, 0, 0.5]), ("turned", [0, 0, 0.5]), ("", [0.0955, 0.0296, 1.0])]
)
def test_positions_are_in_the_base_frame_of_the_robot_file(tmp_path, base, there):
    model = load(tmp_path, urdf(), base_frame=base).spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert data.site("tool").xpos == pytest.approx(there, abs=1e-3)


def test_the_base_frame_may_have_another_name_where_the_robot_stands_in_one_place(tmp_path):
    still = (
        urdf().replace('<origin xyz="0 0 0.5" rpy="0 0 0.3"/>', "").replace('xyz="0.1 0 0" rpy="0 0 3.14159265"', "")
    )
    model = load(tmp_path, still, base_frame="base").spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert data.site("tool").xpos == pytest.approx([0, 0, 0.5], abs=1e-6)
    with pytest.raises(RobotError, match="base_frame"):
        load(tmp_path, urdf(), base_frame="base")


def test_the_base_frame_turns_with_its_link(tmp_path):
    model = load(tmp_path, urdf(), base_frame="turned").spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    assert data.body("mount").xpos == pytest.approx([0.1, 0, 0], abs=1e-6), "seen from a frame that is turned by pi"
    assert data.body("turned").xquat == pytest.approx([1, 0, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"end_effector": "tol"}, "nearest: tool"),
        ({"base_frame": "mont"}, "nearest: mount"),
        ({"base_frame": "lower"}, "b"),
    ],
)
def test_a_name_that_the_urdf_lacks_is_refused_with_the_nearest(tmp_path, given, key):
    with pytest.raises(RobotError) as caught:
        load(tmp_path, urdf(), **given)
    assert key in str(caught.value) and next(iter(given)) in caught.value.key


WRONG = {
    "no XML": "<robot",
    "another file": "<mujoco/>",
    "no links": '<robot name="r"/>',
    "a link twice": '<robot name="r"><link name="a"/><link name="a"/></robot>',
    "two roots": '<robot name="r"><link name="a"/><link name="b"/></robot>',
    "no child": '<robot name="r"><link name="a"/><joint name="j" type="fixed"><parent link="a"/></joint></robot>',
    "an unknown type": urdf().replace('"prismatic"', '"ball"'),
    "an unknown link": urdf().replace('<child link="finger"/>', '<child link="thumb"/>'),
    "a circle": urdf().replace('<parent link="world"/>', '<parent link="tool"/>'),
    "no limits": urdf().replace('<limit lower="-1" upper="2" velocity="1.5" effort="7"/>', ""),
    "limits upside down": urdf().replace('upper="2"', 'upper="-2"'),
    "a limit that is no number": urdf().replace('velocity="1.5"', 'velocity="fast"'),
    "an endless limit": urdf().replace('velocity="1.5"', 'velocity="inf"'),
    "entities": '<!DOCTYPE r [<!ENTITY a "b">]>' + urdf(),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_urdf_that_is_wrong_is_refused_with_the_reason(tmp_path, text):
    with pytest.raises(RobotError) as caught:
        load(tmp_path, text)
    assert caught.value.key and caught.value.file.endswith("arm.urdf")


@pytest.mark.parametrize(
    "name", ["m.stl", "sub/m.stl", "file://{folder}/m.stl", "{folder}/m.stl", "package://meshes/m.stl"]
)
def test_meshes_are_found_and_read_without_mujoco_opening_a_file(tmp_path, name):
    for place in (tmp_path, tmp_path / "sub", tmp_path / "meshes"):
        place.mkdir(exist_ok=True)
        (place / "m.stl").write_bytes(stl())
    shape = f'<mesh filename="{name.format(folder=tmp_path)}" scale="0.1 0.1 0.1"/>'
    model = load(tmp_path, urdf(shape), packages={"meshes": str(tmp_path / "meshes")})
    assert model.spec.compile().nmesh == 1


def test_meshes_that_are_missing_or_of_another_format_are_named_one_by_one(tmp_path):
    (tmp_path / "there.dae").write_text("")
    more = '<link name="x"><collision><geometry><mesh filename="there.dae"/></geometry></collision></link>'
    more += '<joint name="x" type="fixed"><parent link="tool"/><child link="x"/></joint>'
    with pytest.raises(RobotError) as caught:
        load(tmp_path, urdf('<mesh filename="gone.stl"/>', more))
    assert "upper: gone.stl (not found)" in caught.value.key and "x: there.dae (not read here)" in caught.value.key
    assert "trimesh" in caught.value.remedy
    assert load_model(ModelSource(tmp_path / "arm.urdf", tmp_path, "tool"), geometry=False), "kinematics need none"


@pytest.mark.parametrize(
    "name", ["../m.stl", "/etc/m.stl", "file:///etc/m.stl", "package://meshes/../m.stl", "link.stl"]
)
def test_meshes_elsewhere_are_refused(tmp_path, name):
    folder = tmp_path / "robot"
    (folder / "meshes").mkdir(parents=True)
    (tmp_path / "m.stl").write_bytes(stl())
    (folder / "link.stl").symlink_to(tmp_path / "m.stl")
    with pytest.raises(RobotError, match="may not read|below the package"):
        load(folder, urdf(f'<mesh filename="{name}"/>'), packages={"meshes": str(folder / "meshes")})


def test_neighbours_are_no_contact_and_what_is_further_away_is(tmp_path):
    ahead = LookAhead(robot(tmp_path, guarded="lower, finger", forbidden="upper"))
    assert ahead.check(np.zeros(2)) is None, "lower and upper overlap, and are neighbours"
    assert "would touch" in ahead.check(np.array([0.0, 3.1]))


def test_an_srdf_disables_further_pairs(tmp_path):
    (tmp_path / "arm.srdf").write_text('<robot name="arm"><disable_collisions link1="upper" link2="finger"/></robot>')
    found = robot(tmp_path, guarded="finger", forbidden="upper")
    spec = found.lookahead.model_copy(update={"srdf": str(tmp_path / "arm.srdf")})
    assert LookAhead(found.model_copy(update={"lookahead": spec})).check(np.array([0.0, 3.1])) is None
    (tmp_path / "arm.srdf").write_text('<robot name="arm"><disable_collisions link1="upper" link2="fing"/></robot>')
    with pytest.raises(RobotError, match=r"lookahead\.srdf"):
        LookAhead(found.model_copy(update={"lookahead": spec}))


def test_guarding_a_link_without_a_shape_guards_nothing_and_is_refused(tmp_path):
    with pytest.raises(RobotError, match="have no shape") as caught:
        LookAhead(robot(tmp_path, guarded="lower, tool"))
    assert caught.value.key == "tool" and "finger" in caught.value.expected


def test_a_link_without_a_collision_shape_has_its_visual_one_but_no_visual_mesh(tmp_path):
    visual = '<link name="tool"><visual><geometry><box size="0.1 0.1 0.1"/></geometry></visual></link>'
    model = load(tmp_path, urdf().replace('<link name="tool"/>', visual)).spec
    assert [len(model.body(name).geoms) for name in ("upper", "tool", "mount")] == [1, 1, 0]


def test_an_arm_of_a_urdf_is_controlled_and_never_faster_than_it_says(tmp_path):
    arm = ArmController(robot(tmp_path), "joint_position")
    assert arm.forward(np.zeros(2))[0] == pytest.approx([0.1, 0, 0.5], abs=1e-3)
    slow = urdf().replace('velocity="1.5"', 'velocity="0.9"')
    with pytest.raises(RobotError, match="faster") as caught:
        ArmController(robot(tmp_path, slow), "joint_position")
    assert caught.value.key == "a velocity" and "0.9" in caught.value.expected
    with pytest.raises(RobotError, match="do not fit"):
        ArmController(robot(tmp_path, urdf().replace('lower="-1"', 'lower="-0.5"')), "joint_position")


def installed(prefix: Path, name: str, link: bool = False) -> Path:
    """An ament package with the URDF; ``link``: as colcon build --symlink-install makes it."""
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / name).touch()
    (prefix / "share" / name).mkdir()
    source = prefix / "source.urdf" if link else prefix / "share" / name / "arm.urdf"
    source.write_text(urdf())
    if link:
        (prefix / "share" / name / "arm.urdf").symlink_to(source)
    return prefix


@pytest.mark.parametrize("link", [False, True])
def test_packages_of_the_ament_index_are_found_without_ros(tmp_path, monkeypatch, link):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(installed(tmp_path / "install", "arm_description", link)))
    path, root, is_installed = locate_model("package://arm_description/arm.urdf", {}, None)
    assert load_model(ModelSource(path, root, "tool", installed=is_installed)).urdf.name == "arm" and is_installed
    with pytest.raises(RobotError, match="arm_description"):
        locate_model("package://arm_descripton/arm.urdf", {}, None)


def test_packages_of_ros_package_path_and_of_the_robot_file_are_found(tmp_path, monkeypatch):
    for folder in (tmp_path / "src/group/arm_description", tmp_path / "own"):
        folder.mkdir(parents=True)
        (folder / "arm.urdf").write_text(urdf())
    (tmp_path / "src/group/arm_description/package.xml").touch()
    monkeypatch.setenv("ROS_PACKAGE_PATH", str(tmp_path / "src"))
    assert robot(tmp_path, model="package://arm_description/arm.urdf").model_path().parent.name == "arm_description"
    found = robot(tmp_path, model="package://arm_description/arm.urdf", more="packages: {arm_description: own}")
    assert found.model_path().parent.name == "own"
    with pytest.raises(RobotError, match="not below"):
        robot(tmp_path, more="packages: {arm_description: ../own}")
