"""A robot's model, of whatever format, as a `mujoco.MjSpec` with the end effector as a site.

Rules for a URDF, beyond what MuJoCo does:

- the base frame of the robot file is a link that is fixed to the root; it becomes the world's origin.  Where all such
  links are in one place, it may have a name of its own;
- links that a fixed joint connects, and the two sides of any joint, touch by design and never count as a contact;
  further pairs are those that an SRDF disables;
- visual meshes are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np

from vla_agent.errors import RobotError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.robot.model.source import ModelSource, is_urdf
from vla_agent.robot.model.urdf import Urdf, parse_urdf, text_for_mujoco, wrong_urdf
from vla_agent.robot.model.urdf_meshes import collect_meshes
from vla_agent.robot.model.xacro_files import expand_xacro
from vla_agent.robot.model_bounds import XML_BYTES, check_text


@dataclass(frozen=True)
class RobotModel:
    """A model before it is compiled, and the URDF that it was made from, or None."""

    spec: mujoco.MjSpec
    urdf: Urdf | None = None

    def velocities(self) -> dict[str, float]:
        """Joint -> largest velocity that the URDF states, rad/s or m/s."""
        joints = self.urdf.joints if self.urdf else ()
        return {joint.name: joint.velocity for joint in joints if joint.velocity is not None}


def load_model(source: ModelSource, geometry: bool = True) -> RobotModel:
    """Read a model.

    Args:
        source: see `ModelSource`; an MJCF file has been checked by `model_bounds` and `model_files`.
        geometry: with collision shapes.  Without, the meshes of a URDF are not read.

    Raises:
        RobotError: it cannot be read, exceeds a bound, names files that are missing, or lacks the end effector or base.
    """
    urdf = None
    try:
        if is_urdf(source.path):
            urdf, folders = read_urdf(source)
            meshes = {}
            if geometry:
                meshes = collect_meshes(urdf, source, folders)
            spec = mujoco.MjSpec.from_string(text_for_mujoco(urdf, geometry), assets=meshes)
        else:
            spec = mujoco.MjSpec.from_file(str(source.path))
    except ValueError as error:
        raise RobotError(
            "the robot's model cannot be read",
            file=source.path,
            expected="an MJCF, URDF or xacro file with its meshes",
            found=str(error).splitlines()[0],
            remedy="fix the file, or use another one in the robot file",
        ) from error
    if urdf is not None:
        _move_base(spec, urdf, source)
        if geometry:
            _exclude(spec, urdf, source)
    if source.end_effector:
        _mark_end_effector(spec, source)
    return RobotModel(spec, urdf)


def read_urdf(source: ModelSource) -> tuple[Urdf, list[Path]]:
    """A URDF or xacro file, parsed, and the installed packages that a xacro file has named.

    Raises:
        RobotError: see `load_model`.
    """
    folders: list[Path] = []
    if source.path.suffix.lower() == ".xacro":
        data, folders = expand_xacro(source)
    elif source.xacro:
        found = f"{source.path.name}, and arguments {', '.join(source.xacro)}"
        raise wrong_urdf(source.path, "xacro", "`xacro:` only where the model's name ends in .xacro", found)
    else:
        data = read_bytes(source.path, RobotError, XML_BYTES)
    check_text(data, source.path, source.root)
    return parse_urdf(data, source.path), folders


def _move_base(spec: mujoco.MjSpec, urdf: Urdf, source: ModelSource) -> None:
    """Put the base frame where the world's origin is."""
    base = source.base_frame or urdf.root
    if base not in urdf.links:
        if all(_is_origin(_fixed_pose(spec, urdf, link)) for link in urdf.links):
            return  # another name for the one place where the robot stands
        raise _no_name("base_frame", base, sorted(urdf.links), source.path)
    pose = _fixed_pose(spec, urdf, base)
    if pose is None:
        expected = "a link that is fixed to the root"
        raise wrong_urdf(source.path, f"base_frame {base}", expected, f"a link behind joint {_moving(urdf, base)}")
    back, shift = np.empty(4), np.empty(3)
    mujoco.mju_negQuat(back, pose[1])
    mujoco.mju_rotVecQuat(shift, -pose[0], back)
    tops = [body for body in spec.bodies if body.parent is not None and body.parent.name == "world"]
    for part in (*tops, *spec.worldbody.geoms):
        part.pos, part.quat = _compose(shift, back, np.array(part.pos), np.array(part.quat))


def _moving(urdf: Urdf, link: str) -> str:
    """The joint nearest to a link that lets it move; empty where it is fixed to the root."""
    above = {joint.child: joint for joint in urdf.joints}
    while link in above:
        if above[link].kind != "fixed":
            return above[link].name
        link = above[link].parent
    return ""


def _fixed_pose(spec: mujoco.MjSpec, urdf: Urdf, link: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Position (3,) and quaternion (4,) wxyz of a link in the world, where it is fixed to the root."""
    if _moving(urdf, link):
        return None
    above = {joint.child: joint.parent for joint in urdf.joints}
    chain = [link]
    while chain[-1] in above:
        chain.append(above[chain[-1]])
    position, turn = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
    for name in reversed([name for name in chain if name != "world"]):
        body = spec.body(name)
        position, turn = _compose(position, turn, np.array(body.pos), np.array(body.quat))
    return position, turn


def _is_origin(pose: tuple[np.ndarray, np.ndarray] | None) -> bool:
    """Whether a link is where the world's origin is, or moves."""
    return pose is None or (np.abs(pose[0]).max() < 1e-9 and abs(abs(pose[1][0]) - 1) < 1e-9)


def _compose(
    position: np.ndarray, turn: np.ndarray, inner: np.ndarray, inner_turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A pose (3,), (4,) wxyz and another one that is given in its frame -> the second in the frame of the first."""
    place, turned = np.empty(3), np.empty(4)
    mujoco.mju_rotVecQuat(place, inner, turn)
    mujoco.mju_mulQuat(turned, turn, inner_turn)
    return position + place, turned


def _exclude(spec: mujoco.MjSpec, urdf: Urdf, source: ModelSource) -> None:
    """Exclude contacts of neighbours, and of the pairs of the SRDF."""
    bodies = {body.name for body in spec.bodies}
    pairs = {*urdf.neighbours(), *(_disabled(source.srdf, urdf) if source.srdf else ())}
    done: set[frozenset[str]] = set()
    for first, second in sorted(pairs):
        if first in bodies and second in bodies and frozenset((first, second)) not in done:
            done.add(frozenset((first, second)))
            spec.add_exclude(bodyname1=first, bodyname2=second)


def _disabled(srdf: Path, urdf: Urdf) -> list[tuple[str, str]]:
    """Pairs of links of an SRDF's ``disable_collisions``."""
    data = read_bytes(srdf, RobotError, XML_BYTES)
    check_text(data, srdf, srdf.parent)
    try:
        top = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise wrong_urdf(srdf, "lookahead.srdf", "an SRDF file", str(error)) from error
    pairs = [(pair.get("link1", ""), pair.get("link2", "")) for pair in top.iter("disable_collisions")]
    unknown = sorted({link for pair in pairs for link in pair} - set(urdf.links))
    if top.tag != "robot" or unknown:
        raise wrong_urdf(srdf, "lookahead.srdf", f"links of {urdf.name}", ", ".join(unknown) or f"<{top.tag}>")
    return pairs


def _mark_end_effector(spec: mujoco.MjSpec, source: ModelSource) -> None:
    """Make a site of the end effector, where it is a body or a frame."""
    name = source.end_effector
    if any(site.name == name for site in spec.sites):
        return
    for body in spec.bodies:
        if body.name == name:
            body.add_site(name=name)
            return
        for frame in body.frames:
            if frame.name == name:
                body.add_site(name=name).frame = frame
                return
    known = {part.name for parts in (spec.sites, spec.bodies, spec.frames) for part in parts if part.name}
    raise _no_name("end_effector", name, sorted(known - {"world"}), source.path)


def _no_name(key: str, name: str, known: list[str], file: Path) -> RobotError:
    near = get_close_matches(name, known, 3)
    return RobotError(
        "names of the robot file are missing in the robot's model",
        file=file,
        key=f"{key}: {name}",
        expected=f"{'nearest: ' + ', '.join(near) + '; ' if near else ''}links, frames and sites: {', '.join(known)}",
        found="no such name in the model",
        remedy="use one of the model's own names",
    )
