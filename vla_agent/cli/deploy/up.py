"""``vla-agent up``: start a graph of ROS 2 nodes, watch it, end it in order."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

from vla_agent.errors import NodeError
from vla_agent.ros.process.graph_processes import Processes
from vla_agent.ros.process.graph_table import GRAPHS, arguments_of

DESCRIPTION = """\
Start the ROS 2 nodes of a graph as processes: the same nodes with the same arguments as `ros2 launch vla_agent
GRAPH.launch.py`, for machines where ROS 2's launch is not installed.  Ctrl-C ends them in order, the safety node after
what commands it; where one ends by itself, all end.
"""
EPILOG = """\
examples:
  vla-agent up sim --task stack --seed 3          simulated robot, safety, controller, policy
  vla-agent up sim --real_time_factor 0.25        the same on a slow machine
  vla-agent up robot --certificate CERTIFICATE    real cameras and robot
  vla-agent up record --sources front=0,wrist=2   demonstrations to MCAP
  vla-agent up replay --bag recordings/episode-0000
  vla-agent up evaluate --tasks stack --episodes 10 --report runs/mine/report.json

docs/ros2.md has the graph, its topics, and how to stop it.
exit codes: 0 done, or ended by Ctrl-C, 1 a node ended by itself (its log says why), 2 bad input

next: docs/ros2.md has the topics, and how to bring a robot of your own
"""
SUMMARIES = {
    "replay": "a recorded episode on the simulated robot",
    "evaluate": "episodes through the graph, counted and compared",
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
        one = graphs.add_parser(graph, help=SUMMARIES[graph], allow_abbrev=False)
        for name, argument in arguments_of(graph).items():
            default = argument.default
            text = f"{argument.description} (default: {default!r})"
            if isinstance(default, bool):
                one.add_argument(f"--{name}", action="store_true", help=text)
            else:
                one.add_argument(f"--{name}", type=type(default), default=default, metavar="VALUE", help=text)
        one.add_argument("--without", default="", metavar="NODE,...", help="nodes that are not started: you bring them")
        one.add_argument("--logs", type=Path, default=Path("runs") / f"up-{graph}", help="folder of the nodes' logs")
        one.add_argument("--seconds", type=float, default=0.0, help="end by itself after so long (default: run on)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start, watch, end."""
    if importlib.util.find_spec("rclpy") is None:
        raise NodeError(
            "ROS 2 is not installed here",
            key="rclpy",
            expected="ROS 2's Python client library",
            found="no such module",
            remedy="source your ROS 2 installation, or: pip install 'vla_agent[ros-wheels]'",
        )
    values = {name: getattr(args, name) for name in arguments_of(args.graph)}
    without = [name for name in args.without.split(",") if name]
    processes = Processes(args.graph, values, args.logs, without)
    code, began = 0, time.monotonic()
    try:
        processes.start()
        print(f"started: {', '.join(processes.names)}; logs in {args.logs}; Ctrl-C ends them")
        while not args.seconds or time.monotonic() - began < args.seconds:
            time.sleep(0.2)
            for name, status in processes.ended().items():
                print(f"{name} ended with exit code {status}:\n{processes.tail(name)}", file=sys.stderr)
                code = 1
            if code:
                break
            if processes.complete:
                print("done; ending")
                break
    except KeyboardInterrupt:
        print("ending")
    finally:
        codes = processes.stop()
    left = {name: status for name, status in codes.items() if status != 0}
    if left and not code:
        print(f"ended badly: {left}", file=sys.stderr)
    return 1 if left else code
