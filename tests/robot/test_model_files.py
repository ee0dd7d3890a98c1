"""A robot's model names files below one folder alone; they are looked at before MuJoCo opens any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vla_agent.errors import RobotError
from vla_agent.robot.description import load_robot, resolve
from vla_agent.robot.model_files import MOST_FILES, require_contained

ROOT = Path(__file__).resolve().parents[2]
BODY = '<mujoco>{}<worldbody><body name="b"><geom size="0.1"/></body></worldbody></mujoco>'
MESH = '<asset><mesh name="m" file="{}"/></asset>'


@pytest.fixture
def place(tmp_path):
    """A robot's folder with a model's parts, and another folder with the same."""
    for name in ("robot", "robot/parts", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mesh.obj").write_text("v 0 0 0\n")
        (tmp_path / name / "part.xml").write_text(BODY.format(""))
    return tmp_path / "robot"


def check(place: Path, inner: str, text: str = BODY) -> None:
    (place / "model.xml").write_text(text.format(inner.replace("OUTSIDE", str(place.parent / "outside"))))
    require_contained(place / "model.xml", place)


@pytest.mark.parametrize(
    "inner",
    [
        "",
        MESH.format("mesh.obj"),
        MESH.format("parts/../mesh.obj"),
        MESH.format("missing.obj"),
        '<compiler meshdir="parts"/>' + MESH.format("mesh.obj"),
        '<include file="parts/part.xml"/>',
        "<!-- a comment -->",
    ],
)
def test_files_below_the_folder_are_taken(place, inner):
    check(place, inner)


@pytest.mark.parametrize(
    "inner",
    [
        MESH.format("../outside/mesh.obj"),
        MESH.format("parts/../../outside/mesh.obj"),
        MESH.format("OUTSIDE/mesh.obj"),
        MESH.format("..\\outside\\mesh.obj"),
        '<compiler meshdir="../outside"/>' + MESH.format("mesh.obj"),
        '<compiler meshdir="OUTSIDE"/>',
        '<compiler assetdir=".."/>',
        '<compiler texturedir=".."/>',
        '<include file="../outside/part.xml"/>',
        '<include file="OUTSIDE/part.xml"/>',
        '<asset><model name="m" file="../outside/part.xml"/></asset>',
        '<asset><texture name="t" type="2d" file="../x.png"/></asset>',
        '<asset><texture name="t" type="cube" fileback="../x.png"/></asset>',
        '<asset><hfield name="h" size="1 1 1 1" file="../x.png"/></asset>',
        '<asset><skin name="s" file="../x.skn"/></asset>',
    ],
)
def test_files_elsewhere_are_refused(place, inner):
    with pytest.raises(RobotError, match="may not read") as caught:
        check(place, inner)
    assert caught.value.remedy and str(place / "model.xml") == caught.value.file


@pytest.mark.parametrize(
    "name", ["../outside/mesh.obj", "/outside/mesh.obj", "package://../outside/mesh.obj", "file:///x"]
)
def test_a_urdfs_meshes_are_below_the_folder_too(place, name):
    urdf = '<robot name="r"><link name="b"><visual><geometry><mesh filename="{}"/></geometry></visual></link></robot>'
    check(place, "package://arm/mesh.obj", urdf)
    with pytest.raises(RobotError, match="may not read"):
        check(place, name, urdf)


def test_what_an_included_file_names_counts_as_well(place):
    for inner in (
        MESH.format("../outside/mesh.obj"),
        '<include file="../outside/part.xml"/>',
        '<compiler meshdir=".."/>',
    ):
        (place / "part.xml").write_text(BODY.format(inner))
        with pytest.raises(RobotError, match="may not read"):
            check(place, '<include file="part.xml"/>')


def test_links_are_followed_only_within_the_folder(place):
    (place / "linked.obj").symlink_to("mesh.obj")
    check(place, MESH.format("linked.obj"))
    (place / "outside.obj").symlink_to(place.parent / "outside/mesh.obj")
    with pytest.raises(RobotError, match="may not read"):
        check(place, MESH.format("outside.obj"))
    (place / "model.xml").unlink()
    (place / "model.xml").symlink_to(place.parent / "outside/part.xml")
    with pytest.raises(RobotError, match="may not read"):
        require_contained(place / "model.xml", place)


def test_a_fifo_is_refused_and_not_waited_for(place):
    os.mkfifo(place / "fifo.obj")
    with pytest.raises(RobotError, match="FIFO"):
        check(place, MESH.format("fifo.obj"))
    (place / "model.xml").unlink()
    os.mkfifo(place / "model.xml")
    with pytest.raises(RobotError, match="FIFO"):
        require_contained(place / "model.xml", place)


@pytest.mark.parametrize("head", ['<!DOCTYPE m SYSTEM "x">', '<!DOCTYPE m [<!ENTITY e "x">]>'])
def test_a_document_type_is_refused(place, head):
    with pytest.raises(RobotError, match="DOCTYPE"):
        check(place, "", head + BODY)


def test_a_model_that_is_no_xml_is_refused(place):
    with pytest.raises(RobotError, match="XML"):
        check(place, "<", "{}")


def test_as_many_models_as_allowed_include_one_another_and_not_one_more(place):
    for count, fits in ((MOST_FILES, True), (MOST_FILES + 1, False)):
        for n in range(1, count):
            inner = f'<include file="{n + 1}.xml"/>' if n + 1 < count else ""
            (place / f"{n}.xml").write_text(BODY.format(inner))
        if fits:
            check(place, '<include file="1.xml"/>')
        else:
            with pytest.raises(RobotError, match="in one"):
                check(place, '<include file="1.xml"/>')


def robot_file(folder: Path, model: str) -> Path:
    text = (ROOT / "config/robots/panda.yaml").read_text()
    old = next(line for line in text.splitlines() if line.startswith("model:"))
    (folder / "robot.yaml").write_text(text.replace(old, f"model: {model}"))
    return folder / "robot.yaml"


def test_a_model_is_found_beside_the_robot_file_from_any_folder(place, monkeypatch):
    (place / "model.xml").write_text(BODY.format(""))
    monkeypatch.chdir(place.parent)
    assert load_robot(robot_file(place, "model.xml")).model_path() == place / "model.xml"


@pytest.mark.parametrize("model", ["../outside/part.xml", "parts/../../outside/part.xml", "/dev/zero"])
def test_a_model_elsewhere_is_refused(place, model):
    with pytest.raises(RobotError, match="not below the robot file's folder"):
        load_robot(robot_file(place, model))


@pytest.mark.parametrize(
    "uri",
    [
        *("package://sim/../../outside/part.xml", "package://sim//etc/passwd", "package:///etc/passwd"),
        *("package://../sim/assets/robot.xml", "package://planted.part/part.xml", "package://nothing/part.xml"),
    ],
)
def test_a_package_is_a_plain_name_whose_files_are_below_it_and_it_is_never_imported(tmp_path, monkeypatch, uri):
    (tmp_path / "planted/part").mkdir(parents=True)
    (tmp_path / "planted/__init__.py").write_text("raise SystemExit('executed')")
    (tmp_path / "planted/part/__init__.py").write_text("")
    (tmp_path / "planted/part/part.xml").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RobotError, match="missing"):
        resolve(uri)
    assert resolve("package://planted/part/part.xml") == tmp_path / "planted/part/part.xml"
