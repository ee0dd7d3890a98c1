"""``vla-agent robot new`` and ``check``: a first robot file, and whether a robot file can be used."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vla_agent.robot.description import Robot
    from vla_agent.robot.model.first_file import GraphFacts
    from vla_agent.robot.model.source import ModelSource

NEW = """\
Write a first robot file from a robot's model (URDF or xacro) and, with --topics, from what its running drivers publish
and take.  Nothing is guessed: what neither says is left as a numbered comment, and `vla-agent robot check` asks for it.
"""
NEW_EPILOG = """\
examples:
  vla-agent robot new arm.urdf --end-effector tool0 --topics -o my_robot.yaml
  vla-agent robot new package://ur_description/urdf/ur.urdf.xacro --xacro name=ur --xacro ur_type=ur5e \\
      --base-frame base_link --end-effector tool0 --topics --camera front=/cameras/front/color/image_raw -o ur.yaml

next: decide what it lists, then vla-agent robot check FILE
"""
CHECK = """\
Check a robot file: its keys, its model (joints, limits, end effector, collision shapes), and its home posture.
--policy compares it with a policy's contract, --topics with the running drivers.
exit codes: 0 it can be used, 2 it cannot; what is wrong is named by its key
"""


def add_parsers(actions: Any) -> None:
    """Add both to ``vla-agent robot``."""
    new = actions.add_parser("new", help="write a first robot file from a URDF", description=NEW, epilog=NEW_EPILOG)
    new.add_argument("model", metavar="URDF", help="URDF or xacro file, or package://PACKAGE/PATH")
    new.add_argument("-o", "--out", type=Path, metavar="FILE", help="robot file (default: NAME.yaml beside the model)")
    new.add_argument("--name", default="", help="of the robot (default: the model's)")
    new.add_argument("--base-frame", default="", metavar="LINK", help="frame of positions (default: the root link)")
    new.add_argument("--end-effector", default="", metavar="LINK", help="the point that the policy moves")
    new.add_argument("--gripper", default="", metavar="JOINT", help="the joint that measures the gripper")
    new.add_argument("--acceleration", type=float, metavar="A", help="of every joint, rad/s^2 (default: to decide)")
    new.add_argument("--jerk", type=float, metavar="J", help="of every joint, rad/s^3 (default: to decide)")
    new.add_argument("--camera", action="append", default=[], metavar="NAME=TOPIC", help="name of an image topic")
    new.add_argument("--xacro", action="append", default=[], metavar="NAME=VALUE", help="argument of a xacro file")
    new.add_argument("--topics", action="store_true", help="ask the running graph, for --seconds")
    new.add_argument("--seconds", type=float, default=3.0, help="how long to listen (default: 3)")
    check = actions.add_parser("check", help="check a robot file", description=CHECK)
    check.add_argument("robot", metavar="ROBOT", help="robot file, or its name, such as panda")
    check.add_argument("--policy", metavar="POLICY", help="a policy that is to drive it")
    check.add_argument("--topics", action="store_true", help="compare with what the running graph publishes and takes")
    check.add_argument("--seconds", type=float, default=3.0, help="how long to listen (default: 3)")


def run_new(args: argparse.Namespace) -> int:
    """Write the file, and say what is left to decide; 0."""
    from vla_agent.files.write_aside import write_text
    from vla_agent.robot.model.first_file import Chosen, GraphFacts, first_robot_file
    from vla_agent.robot.model.loading import read_urdf

    arguments, cameras = _pairs(args.xacro, "--xacro"), _pairs(args.camera, "--camera")
    source = _source(args.model, arguments)
    urdf, _ = read_urdf(source)
    out = args.out or (Path.cwd() if "://" in args.model else source.path.parent) / f"{args.name or urdf.name}.yaml"
    named = _named(args.model, source.path, out)
    names = (args.name, args.base_frame, args.end_effector, args.gripper)
    chosen = Chosen(*names, args.acceleration, args.jerk, cameras)
    facts = _facts(args.seconds) if args.topics else GraphFacts()
    extra = [f"xacro: {{{', '.join(f'{name}: {value!r}' for name, value in arguments.items())}}}"] if arguments else []
    first = first_robot_file(named, urdf, chosen, facts, extra)
    _require_free(out)
    write_text(out, first.text)
    print(f"{out}\nleft to decide, each a comment with this number in the file:")
    for number, (_, what) in enumerate(first.open, 1):
        print(f"  {number}. {what}")
    print(f"next: vla-agent robot check {out}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Say that the file can be used; 0.

    Raises:
        RobotError: it cannot.
    """
    import numpy as np

    from vla_agent.errors import RobotError
    from vla_agent.robot.control.arm_controller import ArmController
    from vla_agent.robot.description import read_robot
    from vla_agent.robot.safety.lookahead import LookAhead

    robot, digest = read_robot(args.robot)
    ahead = LookAhead(robot)
    arm = ArmController(robot, "ee_delta")
    home = np.array(robot.home)
    beyond = [j.name for j, x in zip(robot.joints, home, strict=True) if not j.position[0] <= x <= j.position[1]]
    wrong = f"beyond the limits of {', '.join(beyond)}" if beyond else ahead.check(home)
    if wrong:
        raise RobotError(
            "the robot cannot be at home",
            file=args.robot,
            key="home",
            expected="a posture within the joints' limits and the workspace, in which nothing touches",
            found=wrong,
            remedy="choose another home, or fix workspace and lookahead",
        )
    if args.policy is not None:
        from vla_agent.policy.sources import contract_of

        robot.require(contract_of(args.policy), args.policy)
    if args.topics:
        _require_topics(robot, args.robot, _facts(args.seconds))
    where = ", ".join(f"{x:.3f}" for x in arm.forward(home)[0])
    at = f"{robot.end_effector} at ({where}) m in {robot.base_frame} at home"
    takes = f"{robot.controller.type} on {robot.controller.topic}"
    print(f"ok: {robot.name}, {len(robot.joints)} joints, {at}")
    print(f"cameras: {', '.join(robot.camera_names) or 'none'}; control: {takes}")
    print(f"robot file {digest[:12]}; next: vla-agent up robot --robot {args.robot} --policy POLICY ...")
    return 0


def _pairs(given: list[str], option: str) -> dict[str, str]:
    from vla_agent.errors import OptionError

    for pair in given:
        if "=" not in pair.strip("="):
            raise OptionError(
                f"{option} takes NAME=VALUE", key=option, expected="NAME=VALUE", found=pair, remedy="write both"
            )
    return dict(pair.split("=", 1) for pair in given)


def _source(model: str, arguments: dict[str, str]) -> ModelSource:
    from vla_agent.errors import RobotError
    from vla_agent.robot.model.source import ModelSource, is_urdf, locate_model

    path, root, installed = locate_model(model, {}, None)
    if not is_urdf(path):
        raise RobotError(
            "a first robot file is written from a URDF",
            file=path,
            key="URDF",
            expected="a URDF or xacro file",
            found="another format, such as MJCF",
            remedy="copy config/robots/panda.yaml for a robot with an MJCF model",
        )
    return ModelSource(path.absolute(), root, xacro=arguments, installed=installed)


def _named(model: str, path: Path, out: Path) -> str:
    """The model as the robot file names it: a package's URI, or a path below the file's folder."""
    from vla_agent.errors import OptionError

    if model.startswith("package://"):
        return model
    folder = out.absolute().parent
    if not path.is_relative_to(folder):
        raise OptionError(
            "the robot file has to lie in a folder above its model",
            file=out,
            key="--out",
            expected=f"a file in {path.parent}, or in a folder above it",
            found=str(folder),
            remedy="copy the model (and its meshes) there, or name it as package://PACKAGE/PATH",
        )
    return path.relative_to(folder).as_posix()


def _require_free(out: Path) -> None:
    from vla_agent.errors import OptionError

    if out.exists():
        raise OptionError(
            "the robot file is there already",
            file=out,
            key="--out",
            expected="a new file",
            found="a file, which stays as it is",
            remedy="give another name with -o, or move it away",
        )


def _facts(seconds: float) -> GraphFacts:
    import importlib.util

    from vla_agent.errors import NodeError

    if importlib.util.find_spec("rclpy") is None:
        raise NodeError(
            "ROS 2 is not installed",
            key="--topics",
            expected="ROS 2's Python client library",
            found="no such module",
            remedy="source your ROS 2 installation, or: pip install 'vla_agent[ros-wheels]'",
        )
    from vla_agent.ros.process.diagnostics_listener import observer_node
    from vla_agent.ros.robot_topics import robot_topics

    with observer_node("vla_agent_robot_file") as (node, spin):
        return robot_topics(node, spin, seconds)


def _require_topics(robot: Robot, file: str, facts: GraphFacts) -> None:
    """Raise unless the running graph publishes and takes what the robot file names."""
    from vla_agent.errors import RobotError

    given = [topic.removeprefix("/") for topic in robot.joint_state_topics]
    having = {name for topic in given for name in facts.joints.get(topic, ())}
    missing = [f"joint_states: nothing publishes {t}" for t in given if t not in facts.joints]
    lacking = [name for name in (*robot.joint_names, robot.gripper.joint) if name not in having]
    missing += [f"joint_states: no state of {', '.join(lacking)}"] if lacking else []
    cameras = {camera.topic: camera for camera in facts.cameras}
    for spec in robot.cameras:
        found = cameras.get(spec.topic.removeprefix("/"))
        if found is None:
            missing.append(f"cameras {spec.name}: nothing publishes {spec.image_topic}")
        elif not found.colour:
            missing.append(f"cameras {spec.name}: {spec.topic} is depth ({found.encoding})")
    outputs = {topic for _, topic in (*facts.arms, *facts.grippers)}
    kinds = {kind for kind, _ in facts.arms}
    topic = robot.controller.topic.removeprefix("/")
    if robot.controller.type in (*kinds, "joint_trajectory", "follow_joint_trajectory") and topic not in outputs:
        missing.append(f"controller: nothing takes {robot.controller.topic}")
    if missing:
        raise RobotError(
            "the running graph does not fit the robot file",
            file=file,
            key="; ".join(missing),
            expected="publishers and controllers of every topic of the file",
            found=f"joint states: {', '.join(facts.joints) or 'none'}; images: {', '.join(cameras) or 'none'}; "
            f"controllers: {', '.join(sorted(outputs)) or 'none'}",
            remedy="start the drivers and controllers, or name their topics in the robot file",
        )
