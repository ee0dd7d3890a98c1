"""The executables: starts each node by its name.  Signals are handled from the start, before anything is imported.

``safety_node --ros-args ...`` after an install, ``python -m vla_agent.ros.process.start safety_node ...`` anywhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

STOP = threading.Event()  # set by SIGINT and SIGTERM; nodes end in order when it is set
ENDING = (signal.SIGINT, signal.SIGTERM)
EXECUTABLES = (
    "camera_node",
    "controller_node",
    "evaluate_node",
    "frames_node",
    "instruction_node",
    "policy_node",
    "recorder_node",
    "replay_node",
    "safety_node",
    "sim_robot_node",
    "task_node",
    "teleop_node",
)


def _stop(_number: int, _frame: FrameType | None) -> None:
    from vla_agent.ros.process import start

    start.STOP.set()


def _not_for_ros(words: list[str]) -> list[str]:
    """The words that are not between ``--ros-args`` and ``--``."""
    found, ros = [], False
    for word in words:
        if word == "--ros-args" or (ros and word == "--"):
            ros = word == "--ros-args"
        elif not ros:
            found.append(word)
    return found


def main() -> None:
    """Run the node given by this program's name, or by its first argument; ``--help`` prints its parameters instead."""
    os.environ["PYTHONSAFEPATH"] = "1"  # the timing process imports nothing from the folder that the node is started in
    for number in ENDING:
        signal.signal(number, _stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # `graph_processes` blocks them until here
    name = Path(sys.argv[0]).name
    if name not in EXECUTABLES:
        name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in EXECUTABLES:
        print(f"error: there is no node '{name}'; nodes: {', '.join(EXECUTABLES)}", file=sys.stderr)
        sys.exit(2)
    if {"-h", "--help"} & set(sys.argv[1:]):
        from vla_agent.ros.process.node_parameters import help_text

        print(help_text(name), end="")
        return
    if unknown := _not_for_ros(sys.argv[1:]):
        print(f"error: {name} takes --help or --ros-args, not '{unknown[0]}'", file=sys.stderr)
        sys.exit(2)
    if importlib.util.find_spec("rclpy") is None:
        how = "source your ROS 2 installation, or: pip install 'vla_agent[ros-wheels]'"
        print(f"error: ROS 2 is not installed\n  remedy:   {how}", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"vla_agent.ros.nodes.{name}").main()


if __name__ == "__main__":
    main()
