"""A robot's model is bounded before MuJoCo compiles it."""

import struct
import zlib

import pytest

from vla_agent.errors import RobotError
from vla_agent.robot import model_bounds
from vla_agent.robot.description import load_robot


def check_model(file):
    model_bounds.check_model(file, file.parent)


def model(tmp_path, body, name="model.xml"):
    file = tmp_path / name
    file.write_text(f"<mujoco>{body}</mujoco>")
    return file


def test_the_models_of_the_projects_robots_are_within_bounds():
    assert load_robot("panda").model_path().is_file()


@pytest.mark.parametrize(
    "inside, outside",
    [
        ('<replicate count="1000"/>', '<replicate count="1001"/>'),
        ('<composite count="100 100 1"/>', '<composite count="100 100 2"/>'),
        ('<flexcomp count="100 100 10"/>', '<flexcomp count="100 100 11"/>'),
        ('<hfield nrow="2000" ncol="2000"/>', '<hfield nrow="2000" ncol="2001"/>'),
        ('<texture width="8000" height="8000"/>', '<texture width="8000" height="8001"/>'),
        ('<size memory="256M"/>', '<size memory="257M"/>'),
        ('<size nuserdata="1000"/>', '<size nuserdata="1e12"/>'),
    ],
)
def test_sizes_at_the_limit_and_just_over_it(tmp_path, inside, outside):
    check_model(model(tmp_path, inside))
    with pytest.raises(RobotError, match="at most"):
        check_model(model(tmp_path, outside))


@pytest.mark.parametrize("limit, name", [("DEPTH", "nested"), ("ELEMENTS", "elements")])
def test_number_and_depth_of_elements(tmp_path, monkeypatch, limit, name):
    monkeypatch.setattr(model_bounds, limit, 3)  # and the root
    check_model(model(tmp_path, "<a><b/></a>"))
    with pytest.raises(RobotError, match=name):
        check_model(model(tmp_path, "<a><b><c/></b></a>"))


def test_entities_are_refused(tmp_path):
    file = tmp_path / "model.xml"
    file.write_text('<!DOCTYPE m [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><mujoco>&b;</mujoco>')
    with pytest.raises(RobotError, match="declarations of entities"):
        check_model(file)


def test_an_include_is_checked_too(tmp_path):
    model(tmp_path, '<replicate count="9999"/>', "part.xml")
    with pytest.raises(RobotError, match="at most") as refused:
        check_model(model(tmp_path, '<include file="part.xml"/>'))
    assert refused.value.file.endswith("part.xml")
    model(tmp_path, '<include file="part.xml"/>', "part.xml")
    check_model(model(tmp_path, '<include file="part.xml"/>'))  # of itself: read once
    with pytest.raises(RobotError, match="can be read"):
        check_model(model(tmp_path, '<include file="none.xml"/>'))


def test_a_texture_that_is_a_bomb_is_refused(tmp_path):
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "t.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(RobotError):
        check_model(model(tmp_path, '<texture file="t.png"/>'))


def test_what_is_no_xml_is_refused(tmp_path):
    (tmp_path / "model.xml").write_bytes("<!DOCTYPE m><mujoco/>".encode("utf-16"))
    with pytest.raises(RobotError, match="declarations"):
        check_model(tmp_path / "model.xml")
    (tmp_path / "model.xml").write_bytes(b"\x00\x01")
    with pytest.raises(RobotError, match="XML"):
        check_model(tmp_path / "model.xml")
    with pytest.raises(RobotError, match="can be read"):
        check_model(tmp_path)
