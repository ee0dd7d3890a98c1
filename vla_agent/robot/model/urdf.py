"""A URDF as the robot reads it: links, joints with their limits, and the text that MuJoCo compiles.

MuJoCo gets the collision shapes alone: meshes to look at, transmissions and other programs' elements do not count here.
Where a link has no collision shape, its visual boxes, cylinders and spheres stand for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from vla_agent.errors import RobotError

MOVING = ("revolute", "continuous", "prismatic")
KINDS = (*MOVING, "fixed", "floating", "planar")
SHAPES = ("box", "cylinder", "capsule", "sphere")  # visual ones count where a link has no collision shape
# What MuJoCo is told: links keep their names, and a link without inertia does not matter, since nothing is simulated.
COMPILER = {
    "fusestatic": "false",
    "discardvisual": "true",
    "strippath": "false",
    "balanceinertia": "true",
    "boundmass": "0.001",
    "boundinertia": "0.000001",
}


@dataclass(frozen=True)
class UrdfJoint:
    """A joint: revolute or continuous in rad, prismatic in m; effort in N m or N.

    ``position`` None: no limits.  ``velocity``, ``effort`` None: none stated, or 0, which many files mean as none.
    ``mimic``: the joint that it follows.
    """

    name: str
    kind: str
    parent: str
    child: str
    position: tuple[float, float] | None = None
    velocity: float | None = None
    effort: float | None = None
    mimic: str | None = None


@dataclass(frozen=True)
class Urdf:
    """A parsed URDF; ``top``: its elements, without visual ones."""

    name: str
    links: tuple[str, ...]
    joints: tuple[UrdfJoint, ...]
    top: ElementTree.Element

    @property
    def root(self) -> str:
        """The link that is no joint's child."""
        children = {joint.child for joint in self.joints}
        return next(link for link in self.links if link not in children)

    def moving(self) -> tuple[UrdfJoint, ...]:
        """Joints that a motor moves: no fixed ones, and none that follows another."""
        return tuple(joint for joint in self.joints if joint.kind in MOVING and joint.mimic is None)

    def rigid_groups(self) -> dict[str, str]:
        """Link -> the first link of those that are fixed to one another."""
        group = {self.root: self.root}
        for joint in self.downwards():
            group[joint.child] = group[joint.parent] if joint.kind == "fixed" else joint.child
        return group

    def downwards(self) -> list[UrdfJoint]:
        """Joints, each after the one that moves its parent."""
        below: dict[str, list[UrdfJoint]] = {}
        for joint in self.joints:
            below.setdefault(joint.parent, []).append(joint)
        found, waiting = [], [self.root]
        while waiting:
            for joint in below.get(waiting.pop(0), []):
                found.append(joint)
                waiting.append(joint.child)
        return found

    def neighbours(self) -> list[tuple[str, str]]:
        """Pairs of links that touch by design: of one rigid group, or of two that a joint connects."""
        group = self.rigid_groups()
        joined = {(group[j.parent], group[j.child]) for j in self.joints}
        links = list(self.links)
        return [
            (first, second)
            for k, first in enumerate(links)
            for second in links[k + 1 :]
            if group[first] == group[second]
            or (group[first], group[second]) in joined
            or (group[second], group[first]) in joined
        ]


def parse_urdf(data: bytes, file: Path) -> Urdf:
    """Read a URDF whose size and nesting have been checked (`model_bounds`).

    Raises:
        RobotError: no URDF, or a joint lacks parent, child or limits, or links make no tree.
    """
    try:
        top = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise wrong_urdf(file, "XML", "a URDF file", str(error)) from error
    if top.tag != "robot":
        raise wrong_urdf(file, "robot", "a URDF, whose first element is <robot>", f"<{top.tag}>")
    for link in top.iter("link"):
        bare = link.find("collision") is None
        for visual in link.findall("visual"):
            if bare and any(visual.find(f"geometry/{shape}") is not None for shape in SHAPES):
                visual.tag = "collision"
            else:
                link.remove(visual)
    links = tuple(link.get("name", "") for link in top.findall("link"))
    joints = tuple(_joint(element, file) for element in top.findall("joint"))
    _check_tree(links, joints, file)
    return Urdf(top.get("name", "robot"), links, joints, top)


def text_for_mujoco(urdf: Urdf, geometry: bool) -> str:
    """The URDF for MuJoCo's compiler, with collision shapes or without."""
    top = ElementTree.Element("robot", {"name": urdf.name or "robot"})
    extension = ElementTree.SubElement(top, "mujoco")
    ElementTree.SubElement(extension, "compiler", COMPILER)
    for element in urdf.top:
        if element.tag == "link":
            link = ElementTree.SubElement(top, "link", {"name": element.get("name", "")})
            link.extend(element.findall("inertial") + (element.findall("collision") if geometry else []))
        elif element.tag == "joint":
            joint = ElementTree.SubElement(top, "joint", dict(element.attrib))
            joint.extend(part for part in element if part.tag in ("parent", "child", "origin", "axis", "limit"))
    return ElementTree.tostring(top, encoding="unicode")


def _joint(element: ElementTree.Element, file: Path) -> UrdfJoint:
    name, kind = element.get("name", ""), element.get("type", "")
    parent, child, mimic = element.find("parent"), element.find("child"), element.find("mimic")
    ends = [end.get("link", "") if end is not None else "" for end in (parent, child)]
    if not name or kind not in KINDS or not all(ends):
        found = f"type '{kind}', parent '{ends[0]}', child '{ends[1]}'"
        raise wrong_urdf(file, f"joint {name}", f"a name, a type of {', '.join(KINDS)}, parent and child", found)
    limit = element.find("limit")
    numbers = {key: _number(limit, key, name, file) for key in ("lower", "upper", "velocity", "effort")}
    position = None
    if kind in ("revolute", "prismatic"):
        if limit is None:
            raise wrong_urdf(file, f"joint {name}", f"<limit lower upper velocity effort> of a {kind} joint", "none")
        position = (numbers["lower"] or 0.0, numbers["upper"] or 0.0)
        if position[0] > position[1]:
            raise wrong_urdf(file, f"joint {name}", "lower below upper", f"{position[0]} to {position[1]}")
    follows = None if mimic is None else mimic.get("joint", "")
    return UrdfJoint(
        name, kind, ends[0], ends[1], position, numbers["velocity"] or None, numbers["effort"] or None, follows
    )


def _number(limit: ElementTree.Element | None, key: str, joint: str, file: Path) -> float | None:
    text = None if limit is None else limit.get(key)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise wrong_urdf(file, f"joint {joint} limit {key}", "a finite number", text[:40])
    return value


def _check_tree(links: tuple[str, ...], joints: tuple[UrdfJoint, ...], file: Path) -> None:
    """Raise unless names are there and unique, and joints make one tree of all links."""
    for what, names in (("link", links), ("joint", tuple(joint.name for joint in joints))):
        twice = sorted({name for name in names if not name or names.count(name) > 1})
        if twice:
            raise wrong_urdf(file, f"{what} {', '.join(twice)}", f"a name for each {what}, each once", "none, or twice")
    missing = sorted({end for joint in joints for end in (joint.parent, joint.child)} - set(links))
    if missing:
        raise wrong_urdf(file, f"link {', '.join(missing)}", "a link for every end of a joint", "no such link")
    children = [joint.child for joint in joints]
    roots = [link for link in links if link not in children]
    if len(roots) != 1 or len(set(children)) != len(children):
        expected = "one link that is no joint's child, and one joint for every other"
        raise wrong_urdf(file, "links", expected, f"{len(roots)} such links: {', '.join(roots[:5])}")
    reached, before = {roots[0]}, 0
    while len(reached) != before:
        before = len(reached)
        reached |= {joint.child for joint in joints if joint.parent in reached}
    if len(reached) != len(links):
        raise wrong_urdf(file, "joints", "one tree of links", "joints that lead in a circle")


def wrong_urdf(file: Path, key: str, expected: str, found: str) -> RobotError:
    """The error for a URDF that cannot be used."""
    return RobotError(
        "the robot's URDF cannot be used",
        file=file,
        key=key[:200],
        expected=expected,
        found=found[:200],
        remedy="fix the file, or name another one as `model:` of the robot file",
    )
