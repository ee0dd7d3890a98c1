"""``vla-agent up``: start a graph of ROS 2 nodes, watch it, end it in order."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vla_agent.errors import NodeError, OptionError
from vla_agent.ros.process.graph_plan import Choices, checked_namespace, choices_of, left_out
from vla_agent.ros.process.graph_processes import Processes
from vla_agent.ros.process.graph_table import GRAPHS, OPTIONS, Argument, arguments_of
from vla_agent.ros.process.ros_arguments import RosArguments

DESCRIPTION = """\
Start the ROS 2 nodes of a graph as processes: the same nodes with the same arguments as `ros2 launch vla_agent
GRAPH.launch.py`, for machines where ROS 2's launch is not installed.  Ctrl-C ends them in order, the safety node after
the nodes that command it; when one ends by itself, all end.
"""
EPILOG = """\
examples:
  vla-agent up sim --task stack --seed 3          simulated robot, safety, controller, policy
  vla-agent up sim --real_time_factor 0.25        the same on a slow machine
  vla-agent up dry_run --robot my_robot.yaml --without camera_node   the drivers run, and no motor moves
  vla-agent up robot --certificate CERTIFICATE    real cameras and robot
  vla-agent up record --sources front=0,wrist=2   demonstrations to MCAP
  vla-agent up replay --bag recordings/episode-0000
  vla-agent up evaluate --tasks stack --episodes 10 --report runs/mine/report.json
  vla-agent up robot --ros-args -r joint_states:=/franka/joint_states -p policy_node:max_age:=2

give instructions, stop and reset, from a second terminal, without the `ros2` command:
  python -m vla_agent.ros.client instruct "put the red mug in the tray"
  python -m vla_agent.ros.client call safety/reset
  python -m vla_agent.ros.client --help

exit codes: 0 done, or ended by Ctrl-C, 1 a node ended by itself (see its log), 2 bad input

next: docs/ros2.md has the topics, and how to use your own robot
"""
SUMMARIES = {
    "replay": "a recorded episode on the simulated robot",
    "evaluate": "episodes through the graph, and their success rate",
    "sim": "simulated robot, safety, controller and policy",
    "robot": "real cameras, safety, controller and policy",
    "dry_run": "the same without motors: no certificate, and commands go to topics under sim/",
    "record": "real cameras and the recorder",
}


def add_parser(subparsers: Any) -> None:
    """Add ``up`` to the command line."""
    parser = subparsers.add_parser(
        "up",
        help=f"start a graph of ROS 2 nodes: {', '.join(GRAPHS)}",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    graphs = parser.add_subparsers(dest="graph", metavar="GRAPH", required=True)
    for graph in GRAPHS:
        one = graphs.add_parser(graph, help=SUMMARIES[graph], description=f"Start {SUMMARIES[graph]}.", epilog=EPILOG)
        for name, argument in (arguments_of(graph) | OPTIONS).items():
            _add_argument(one, name, argument)
        one.add_argument("--logs", type=Path, default=Path("runs") / f"up-{graph}", help="folder of the nodes' logs")
        one.add_argument("--seconds", type=float, default=0.0, help="end after this time (default: run on)")
        one.add_argument(
            "--ros-args",
            nargs=argparse.REMAINDER,
            default=[],
            metavar="...",
            help="last: what ROS nodes take, such as -r FROM:=TO, -p [NODE:]NAME:=VALUE, --params-file, --log-level",
        )
    parser.set_defaults(run=run)


def _add_argument(parser: Any, name: str, argument: Argument) -> None:
    """An argument of a graph; it is not in the namespace where it was not given."""
    default = argument.default
    more: dict[str, Any] = {"type": type(default), "metavar": "NODE,..." if name == "without" else "VALUE"}
    if isinstance(default, bool):
        more = {"action": argparse.BooleanOptionalAction}
    elif argument.choices:
        more["choices"] = argument.choices
    text = f"{argument.description} (default: {default!r})"
    parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text, **more)


def run(args: argparse.Namespace) -> int:
    """Start, watch, end."""
    if importlib.util.find_spec("rclpy") is None:
        raise NodeError(
            "ROS 2 is not installed",
            key="rclpy",
            expected="ROS 2's Python client library",
            found="no such module",
            remedy="source your ROS 2 installation, or: pip install 'vla_agent[ros-wheels]'",
        )
    known = arguments_of(args.graph)
    given = {name: getattr(args, name) for name in known if hasattr(args, name)}
    values = {name: argument.default for name, argument in known.items()} | given
    _require_valid(values)
    choices = _choices(args)
    processes = Processes(args.graph, given, args.logs, choices=choices)
    code = 0
    try:
        processes.start()
        for line in left_out(args.graph, choices):
            print(line, flush=True)
        print(f"started: {', '.join(processes.names)}; logs in {args.logs}; Ctrl-C ends them", flush=True)
        with _progress(args, str(values["robot"]), choices, processes) as report:
            code = _monitor(processes, args.seconds, report)
    except KeyboardInterrupt:
        print("ending", flush=True)
    finally:
        codes = processes.stop()
    left = {name: status for name, status in codes.items() if status != 0}
    if left and not code:
        print(f"ended with errors: {left}", file=sys.stderr)
    return 1 if left else code


def _choices(args: argparse.Namespace) -> Choices:
    """Options of the graph, and what stands after ``--ros-args``.

    Raises:
        VlaAgentError: a value cannot be read.
    """
    ros = RosArguments(args.graph, args.ros_args)
    options = {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)}
    for name in set(options) & set(ros.options):
        raise OptionError(
            "an option is given twice",
            key=name,
            expected=f"--{name}, or its form after --ros-args",
            found=f"{options[name]} and {ros.options[name]}",
            remedy="leave one of them out",
        )
    return choices_of(options | ros.options, Choices(parameters=ros.parameters, forwarded=tuple(ros.forwarded)))


def _require_valid(values: dict[str, Any]) -> None:
    """Raise here, before any node starts, where a robot, task or policy does not exist.

    Raises:
        VlaAgentError: naming what there is.
    """
    from vla_agent.files.policy_folder import find_folder
    from vla_agent.policy.sources import is_remote
    from vla_agent.robot.description import load_robot

    load_robot(values["robot"])
    names = [values.get("task", ""), *str(values.get("tasks", "")).split(",")]
    if chosen := [name for name in names if name]:
        from sim.tasks.task import select  # a real robot's graphs need no simulator

        select(chosen)
    if values.get("policy") and not is_remote(values["policy"]):
        find_folder(values["policy"])


def _monitor(processes: Processes, seconds: float, report: Callable[[], None]) -> int:
    """Call ``report`` again and again until the graph ends, or for ``seconds`` where that is not 0; the exit code."""
    began = time.monotonic()
    while not seconds or time.monotonic() - began < seconds:
        report()
        ended = processes.ended()
        for name, status in ended.items():
            print(f"{name} ended with exit code {status}:\n{processes.tail(name)}", file=sys.stderr)
        if ended:
            return 1
        if processes.complete:
            print("done; ending", flush=True)
            return 0
    return 0


@contextmanager
def _progress(
    args: argparse.Namespace, robot: str, choices: Choices, processes: Processes
) -> Iterator[Callable[[], None]]:
    """What is called about five times a second; in the graph ``sim`` it prints scene, progress and success."""
    space = checked_namespace(choices.namespace)
    words = ["--namespace", space] if space else []
    client = shlex.join([_relative(sys.executable), "-m", "vla_agent.ros.client", *words])
    if "policy_node" in processes.names and args.graph != "evaluate":
        print(f'in a second terminal, to give an instruction: {client} instruct "..."', flush=True)
    if args.graph != "sim" or "sim_robot_node" not in processes.names:
        yield lambda: time.sleep(0.2)
        return
    from vla_agent.robot.description import load_robot
    from vla_agent.ros.process.diagnostics_listener import DiagnosticsListener, observer_node
    from vla_agent.ros.runtime.sim_progress import SimProgress, read_state

    progress = SimProgress(load_robot(robot).period, client)
    with observer_node("vla_agent_up", choices.discovery) as (node, spin):
        listener = DiagnosticsListener(node)

        def report() -> None:
            spin(lambda: False, 0.2)
            statuses = listener.of_namespace(space)
            values = {name: status.values for name, status in statuses.items()}
            state = read_state(values, {name: status.message for name, status in statuses.items()})
            for line in progress.lines(state) if state else ():
                print(line, flush=True)

        yield report


def _relative(program: str) -> str:
    """A program's path, relative where it lies below this folder."""
    path = Path(program)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else program
