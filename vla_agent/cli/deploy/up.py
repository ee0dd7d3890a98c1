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

from vla_agent.errors import NodeError
from vla_agent.ros.process.graph_processes import Processes
from vla_agent.ros.process.graph_table import GRAPHS, arguments_of

DESCRIPTION = """\
Start the ROS 2 nodes of a graph as processes: the same nodes with the same arguments as `ros2 launch vla_agent
GRAPH.launch.py`, for machines where ROS 2's launch is not installed.  Ctrl-C ends them in order, the safety node after
the nodes that command it; when one ends by itself, all end.
"""
EPILOG = """\
examples:
  vla-agent up sim --task stack --seed 3          simulated robot, safety, controller, policy
  vla-agent up sim --real_time_factor 0.25        the same on a slow machine
  vla-agent up robot --certificate CERTIFICATE    real cameras and robot
  vla-agent up record --sources front=0,wrist=2   demonstrations to MCAP
  vla-agent up replay --bag recordings/episode-0000
  vla-agent up evaluate --tasks stack --episodes 10 --report runs/mine/report.json

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
        for name, argument in arguments_of(graph).items():
            default = argument.default
            text = f"{argument.description} (default: {default!r})"
            if isinstance(default, bool):
                one.add_argument(f"--{name}", action="store_true", help=text)
            else:
                one.add_argument(f"--{name}", type=type(default), default=default, metavar="VALUE", help=text)
        one.add_argument(
            "--without", default="", metavar="NODE,...", help="nodes that are not started: you run your own"
        )
        one.add_argument("--logs", type=Path, default=Path("runs") / f"up-{graph}", help="folder of the nodes' logs")
        one.add_argument("--seconds", type=float, default=0.0, help="end after this time (default: run on)")
    parser.set_defaults(run=run)


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
    values = {name: getattr(args, name) for name in arguments_of(args.graph)}
    _require_valid(values)
    without = [name for name in args.without.split(",") if name]
    processes = Processes(args.graph, values, args.logs, without)
    code = 0
    try:
        processes.start()
        print(f"started: {', '.join(processes.names)}; logs in {args.logs}; Ctrl-C ends them", flush=True)
        with _progress(args, processes) as report:
            code = _monitor(processes, args.seconds, report)
    except KeyboardInterrupt:
        print("ending", flush=True)
    finally:
        codes = processes.stop()
    left = {name: status for name, status in codes.items() if status != 0}
    if left and not code:
        print(f"ended with errors: {left}", file=sys.stderr)
    return 1 if left else code


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
def _progress(args: argparse.Namespace, processes: Processes) -> Iterator[Callable[[], None]]:
    """What is called about five times a second; in the graph ``sim`` it prints scene, progress and success."""
    client = shlex.join([_relative(sys.executable), "-m", "vla_agent.ros.client"])
    if "policy_node" in processes.names and args.graph != "evaluate":
        print(f'in a second terminal, to give an instruction: {client} instruct "..."', flush=True)
    if args.graph != "sim" or "sim_robot_node" in args.without.split(","):
        yield lambda: time.sleep(0.2)
        return
    from vla_agent.robot.description import load_robot
    from vla_agent.ros.process.diagnostics_listener import DiagnosticsListener, observer_node
    from vla_agent.ros.runtime.sim_progress import SimProgress, read_state

    progress = SimProgress(load_robot(args.robot).period, client)
    with observer_node("vla_agent_up") as (node, spin):
        listener = DiagnosticsListener(node)

        def report() -> None:
            spin(lambda: False, 0.2)
            statuses = listener.statuses
            values = {name: status.values for name, status in statuses.items()}
            state = read_state(values, {name: status.message for name, status in statuses.items()})
            for line in progress.lines(state) if state else ():
                print(line, flush=True)

        yield report


def _relative(program: str) -> str:
    """A program's path, relative where it lies below this folder."""
    path = Path(program)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else program
