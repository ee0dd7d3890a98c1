"""A first robot file from a URDF and from what a running graph publishes and takes: facts, and nothing guessed.

What neither says is left out, as a comment that shows the key; `vla-agent robot check` then asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vla_agent.errors import RobotError
from vla_agent.robot.model.urdf import MOVING, Urdf, UrdfJoint

UNITS = {"acceleration": "rad/s^2", "jerk": "rad/s^3"}


@dataclass(frozen=True)
class CameraFact:
    """An image topic: ``topic`` without /compressed, its frame, size (width, height), encoding and rate, Hz."""

    topic: str
    frame: str
    size: tuple[int, int]
    encoding: str
    rate: float
    compressed: bool = False
    colour: bool = True


@dataclass(frozen=True)
class GraphFacts:
    """What a running graph has.

    Attributes:
        joints: topic of joint states -> position of each joint.
        rates: topic of joint states -> Hz.
        cameras: image topics.
        arms: (type of the robot file's controller, topic or action) that takes joints.
        grippers: (type of the robot file's gripper, topic or action).
    """

    joints: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    cameras: tuple[CameraFact, ...] = ()
    arms: tuple[tuple[str, str], ...] = ()
    grippers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What the user has said: ``cameras``: name -> image topic; the rest may be empty.

    ``acceleration`` rad/s^2, ``jerk`` rad/s^3: of every joint.
    """

    name: str = ""
    base_frame: str = ""
    end_effector: str = ""
    gripper: str = ""
    acceleration: float | None = None
    jerk: float | None = None
    cameras: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstFile:
    """The text of the robot file, and what is left to decide: (key, what it is)."""

    text: str
    open: tuple[tuple[str, str], ...]


class _Writer:
    """Lines of the file, and the decisions that are left."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.left: list[tuple[str, str]] = []

    def say(self, *lines: str) -> None:
        self.lines += lines

    def ask(self, key: str, what: str, *lines: str) -> None:
        """A key to decide: shown as comments, with its number."""
        self.left.append((key, what))
        self.lines += [f"# {len(self.left)}. {what}", *(f"# {line}" for line in lines)]


def first_robot_file(model: str, urdf: Urdf, chosen: Chosen, facts: GraphFacts, extra: Sequence[str] = ()) -> FirstFile:
    """The robot file that a URDF and a graph give.

    Args:
        model: as the file is to name it.
        urdf: of this model.
        chosen: what the user said.
        facts: of the running graph; empty where none was asked.
        extra: lines below ``model:``, such as ``xacro:``.

    Raises:
        RobotError: a chosen name is not in the URDF, or the end effector has to be chosen.
    """
    arm, gripper, base, end = _arm(urdf, chosen)
    out = _Writer()
    out.say(f"# {urdf.name}: written by vla-agent robot new.  Metres, radians, seconds.  Each key: docs/ros2.md.")
    out.say(f"name: {chosen.name or urdf.name}", f"model: {model}", *extra)
    out.say(f"base_frame: {base} # x forward, y left, z up is what instructions mean by left and right")
    out.say(f"end_effector: {end}")
    out.ask(
        "control_hz", "control_hz: control steps a second, the policy's own (its contract says it)", "control_hz: 20"
    )
    _home(out, arm, facts)
    _joints(out, arm, chosen)
    _gripper(out, urdf, gripper, facts)
    shaped = _shaped(urdf, arm)
    out.ask(
        "workspace",
        f"workspace: where {end} may be, lowest and highest x, y, z in {base}",
        "workspace: {low: [?, ?, ?], high: [?, ?, ?]}",
    )
    out.ask(
        "lookahead",
        "lookahead: links that may not touch others or boxes; neighbours never count",
        f"lookahead: {{guarded: [{', '.join(shaped[3:])}], forbidden: [{', '.join(shaped[:2])}], "
        "obstacles: [{name: table, size: [1.0, 1.0, 0.05], position: [0.0, 0.0, -0.06]}]}",
    )
    _controller(out, gripper, facts)
    _cameras(out, chosen, facts)
    _joint_states(out, [*(joint.name for joint in arm), *([gripper.name] if gripper else [])], facts)
    return FirstFile("\n".join(out.lines) + "\n", tuple(out.left))


def _arm(urdf: Urdf, chosen: Chosen) -> tuple[list[UrdfJoint], UrdfJoint | None, str, str]:
    """(joints from base to end effector, the gripper's joint or None, base, end effector)."""
    above = {joint.child: joint for joint in urdf.joints}
    parents = {joint.parent for joint in urdf.joints}
    ends = [link for link in urdf.links if link not in parents]
    fixed = {link: _chain(above, link) for link in urdf.links}
    moving = {
        link: [joint for joint in chain if joint.kind in MOVING and not joint.mimic] for link, chain in fixed.items()
    }
    base = chosen.base_frame or urdf.root
    if base not in urdf.links or moving[base]:
        still = [link for link in urdf.links if not moving[link]]
        raise _choose("--base-frame", f"a link that stands still: {', '.join(still)}", base)
    end = chosen.end_effector or (ends[0] if len(ends) == 1 else "")
    if end not in urdf.links:
        most = max(map(len, moving.values()))
        likely = [link for link in urdf.links if len(moving[link]) in (most, most - 1)]
        raise _choose("--end-effector", f"a link, such as {', '.join(likely[-12:])}", end or "several that end a chain")
    arm = moving[end]
    if not arm:
        raise _choose("--end-effector", "a link behind moving joints", end)
    rest = [joint for joint in urdf.moving() if joint not in arm]
    if chosen.gripper and chosen.gripper not in [joint.name for joint in rest]:
        names = ", ".join(joint.name for joint in rest)
        raise _choose("--gripper", f"a joint that is not the arm's: {names or 'none is there'}", chosen.gripper)
    rest = [joint for joint in rest if joint.name == chosen.gripper] if chosen.gripper else rest
    return arm, rest[0] if len(rest) == 1 else None, base, end


def _chain(above: Mapping[str, UrdfJoint], link: str) -> list[UrdfJoint]:
    """Joints from the root to a link."""
    chain: list[UrdfJoint] = []
    while link in above:
        chain.append(above[link])
        link = above[link].parent
    return chain[::-1]


def _choose(option: str, expected: str, found: str) -> RobotError:
    what = "a link or joint has to be named"
    return RobotError(what, key=option, expected=expected, found=found, remedy=f"give {option} NAME")


def _home(out: _Writer, arm: Sequence[UrdfJoint], facts: GraphFacts) -> None:
    now = {name: value for joints in facts.joints.values() for name, value in joints.items()}
    known = all(joint.name in now for joint in arm)
    where = ", ".join(f"{now[joint.name]:.3f}" if known else "?" for joint in arm)
    what = "home: a posture in the middle of the work, one number a joint; the null space moves towards it"
    out.ask("home", what + (" (shown: where the arm is now)" if known else ""), f"home: [{where}]")


def _joints(out: _Writer, arm: Sequence[UrdfJoint], chosen: Chosen) -> None:
    told = {"acceleration": chosen.acceleration, "jerk": chosen.jerk}
    asked = [f"{key} ({unit})" for key, unit in UNITS.items() if told[key] is None]
    if asked:
        what = f"joints: {' and '.join(asked)} of each, which a URDF does not say"
        out.ask(
            "joints", what, "(your robot's manual has them; robot new --acceleration X --jerk Y gives all the same)"
        )
    bare = [joint.name for joint in arm if joint.position is None or joint.velocity is None]
    if bare:
        out.ask("joints", f"joints: position and velocity that the URDF lacks, of {', '.join(bare)}")
    out.say("joints:")
    for joint in arm:
        position = f"[{joint.position[0]:.6g}, {joint.position[1]:.6g}]" if joint.position else None
        known = {"position": position, "velocity": joint.velocity} | told
        parts = [
            f"name: {joint.name}",
            *(f"{key}: {_text(value)}" for key, value in known.items() if value is not None),
        ]
        lacking = ", ".join(f"{key}: ?" for key, value in known.items() if value is None)
        effort = f"the URDF's effort is {joint.effort:g}" if joint.effort else ""
        note = "; ".join(part for part in (f"and {lacking}" if lacking else "", effort) if part)
        out.say(f"  - {{{', '.join(parts)}}}" + (f" # {note}" if note else ""))


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _gripper(out: _Writer, urdf: Urdf, gripper: UrdfJoint | None, facts: GraphFacts) -> None:
    if gripper is None:
        others = ", ".join(joint.name for joint in urdf.moving())
        what = "gripper: the joint that measures it, and its positions when open and when closed"
        out.ask("gripper", f"{what}; moving joints: {others}", "gripper: {joint: ?, open: ?, closed: ?}")
        return
    low, high = gripper.position or (0.0, 0.0)
    out.ask(
        "gripper",
        f"gripper: which end of {gripper.name} is open; its range is {low:g} to {high:g}",
        f"gripper: {{joint: {gripper.name}, open: {high:g}, closed: {low:g}}}",
        f"gripper: {{joint: {gripper.name}, open: {low:g}, closed: {high:g}}}",
    )


def _shaped(urdf: Urdf, arm: Sequence[UrdfJoint]) -> list[str]:
    """Links of the arm with a collision shape, from the base outwards."""
    shaped = {link.get("name", "") for link in urdf.top.findall("link") if link.find("collision") is not None}
    group = urdf.rigid_groups()
    order = [group[arm[0].parent], *(group[joint.child] for joint in arm)]
    return sorted((link for link in shaped if group[link] in order), key=lambda link: order.index(group[link]))


OUTPUT = {
    "franka": ", open: 0.08, closed: 0.0, speed: ?, force: ?, grasp_from: ?",
    "gripper_command": ", max_effort: ?",
}


def _controller(out: _Writer, gripper: UrdfJoint | None, facts: GraphFacts) -> None:
    arms = [f"{{type: {kind}, topic: {topic}" for kind, topic in facts.arms] or ["{type: ?, topic: ?"]
    hands = [f"{{type: {kind}, topic: {topic}{OUTPUT.get(kind, '')}}}" for kind, topic in facts.grippers]
    hands = hands or ["{type: ?, topic: ?}"]
    if len(facts.arms) == 1 and len(facts.grippers) == 1 and "?" not in hands[0]:
        out.say(f"controller: {arms[0]}, gripper: {hands[0]}}}")
        return
    what = "controller: what takes the arm's and the gripper's targets"
    found = "; shown is what listens now" if facts.arms or facts.grippers else ""
    lines = [f"controller: {arm}, gripper: {hand}}}" for arm in arms for hand in hands]
    out.ask("controller", what + found, *lines[:12])


def _cameras(out: _Writer, chosen: Chosen, facts: GraphFacts) -> None:
    by_topic = {camera.topic: camera for camera in facts.cameras}
    known: list[str] = []
    named = {name: topic.removeprefix("/") for name, topic in chosen.cameras.items()}
    for name, topic in named.items():
        if topic not in by_topic:
            names = ", ".join(by_topic) or "no image topic; is the driver running, and --topics given?"
            raise RobotError(
                "there are no images on this topic",
                key=f"--camera {name}={topic}",
                expected=names,
                found="none",
                remedy="name one of these topics",
            )
        known.append(f"  - {_camera(name, by_topic[topic])}")
    rest = [camera for camera in facts.cameras if camera.topic not in named.values()]
    notes = [
        f"  # - {_camera('?', camera)}" if camera.colour else f"  # depth, not used: {camera.topic}" for camera in rest
    ]
    if known:
        out.say("cameras:", *known, *notes)
        return
    out.ask("cameras", "cameras: the policy's name of each, such as front and wrist, and its image topic")
    out.say("cameras:", *(notes or ["  # - {name: ?, topic: ?, frame: ?}"]))


def _camera(name: str, camera: CameraFact) -> str:
    transport = ", transport: compressed" if camera.compressed else ""
    told = f"{camera.size[0]}x{camera.size[1]} {camera.encoding}, {camera.rate:.0f} Hz"
    return f"{{name: {name}, topic: {camera.topic}, frame: {camera.frame or '?'}{transport}}} # {told}"


def _joint_states(out: _Writer, names: Sequence[str], facts: GraphFacts) -> None:
    """One topic with all joints, or the topics that have them all together where there is but one way."""
    having = {topic: set(names) & set(joints) for topic, joints in facts.joints.items()}
    whole = [topic for topic, joints in having.items() if len(joints) == len(names)]
    parts = [topic for topic, joints in having.items() if joints]
    told = "; ".join(
        f"{topic}: {len(having[topic])} of {len(names)}, {facts.rates.get(topic, 0):.0f} Hz" for topic in parts
    )
    counts = [sum(name in having[topic] for topic in parts) for name in names]
    if len(whole) == 1:
        out.say(f"joint_states: {whole[0]} # {told}")
    elif parts and not whole and all(count == 1 for count in counts):
        out.say(f"joint_states: [{', '.join(parts)}] # {told}")
    else:
        what = f"joint_states: topic or topics of {', '.join(names)}"
        out.ask("joint_states", what, *([f"joint_states: {topic}" for topic in whole] or ["joint_states: ?"]), told)
