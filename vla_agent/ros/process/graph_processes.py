"""Starts the nodes of a graph as processes, monitors them, and ends them in order."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from vla_agent.robot.description import robot_folders
from vla_agent.ros.process.graph_plan import Choices, NodeStart, checked_namespace, parameter_arguments, plan
from vla_agent.ros.process.graph_table import Value
from vla_agent.ros.process.start import ENDING

RANGE, PROFILE = "ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_DEFAULT_PROFILES_FILE"
PATIENCE = 20.0
__all__ = ["PATIENCE", "Processes", "network_settings", "node_environment", "parameter_arguments"]
_PR_SET_PDEATHSIG = 1


def network_settings(discovery: str = "") -> dict[str, str]:
    """Environment variables of a node: which hosts see it, and Fast DDS set up for images over 0.5 MB.

    `vla-agent up` and the launch files set the same.

    Args:
        discovery: localhost or subnet; empty: the variable of this process where it is set, else localhost.
    """
    found = {RANGE: discovery.upper() or os.environ.get(RANGE, "LOCALHOST")}
    profiles = (folder.parent / "fastdds.xml" for folder in robot_folders())
    profile = next((str(file) for file in profiles if file.is_file()), None)
    if chosen := os.environ.get(PROFILE, profile):
        found[PROFILE] = chosen
    return found


def node_environment(discovery: str = "") -> dict[str, str]:
    """This process's environment with `network_settings`, for a process that is a node."""
    return {"PYTHONUNBUFFERED": "1"} | dict(os.environ) | network_settings(discovery)


def _prepare() -> None:
    """Runs in the child: it ends with its parent, and signals wait until `ros.process.start` handles them."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


class Processes:
    """The processes of a graph.

    Args:
        graph: a name of `graph_table.GRAPHS`.
        values: the graph's arguments that are given; the others have their defaults.
        logs: folder for one log file a node.
        without: executables of the graph that are not started, because something else replaces them.
        patience: seconds from SIGINT to SIGKILL.
        before: executable -> words in front of its command, such as ``nsenter`` with a network.
        choices: parameters of single nodes, and the rest of what a person may give; ``without`` is added to its own.

    Raises:
        VlaAgentError: a name or value is wrong, such as a node that is not in the graph.
    """

    def __init__(
        self,
        graph: str,
        values: Mapping[str, Value],
        logs: Path,
        without: Sequence[str] = (),
        patience: float = PATIENCE,
        before: Mapping[str, Sequence[str]] | None = None,
        choices: Choices | None = None,
    ) -> None:
        choices = choices or Choices()
        choices = replace(choices, without=(*choices.without, *without))
        self._starts = plan(graph, values, choices)
        self._environment = node_environment(choices.discovery)
        space = checked_namespace(choices.namespace)
        self._more = ("-r", f"__ns:={space}") if space else ()
        self._logs, self._patience, self._before = logs, patience, before or {}
        self._running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def start(self) -> None:
        """Start all nodes, in order."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for start in self._starts:
            self._start(start)

    def _start(self, start: NodeStart) -> None:
        node = start.entry.executable
        program = [sys.executable, "-m", "vla_agent.ros.process.start", node, "--ros-args"]
        words = [*self._before.get(node, ()), *program, *start.ros_arguments, *self._more]
        log = (self._logs / f"{node}.log").open("wb")
        process = subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for us alone: the nodes end in order
            preexec_fn=_prepare,
        )
        self._running[node] = (process, log)

    def kill(self, executable: str) -> None:
        """End a node by SIGKILL, like a crash; `ended` does not report it."""
        process, log = self._running.pop(executable)
        process.kill()
        process.wait()
        log.close()

    def start_again(self, executable: str) -> None:
        """Start a node that was killed."""
        self._start(next(start for start in self._starts if start.entry.executable == executable))

    @property
    def names(self) -> list[str]:
        """The executables of the nodes, in the order of their start."""
        return [start.entry.executable for start in self._starts]

    def process(self, executable: str) -> subprocess.Popen[bytes]:
        """The process of one node."""
        return self._running[executable][0]

    def ended(self) -> dict[str, int]:
        """Executable -> exit code of the nodes that have ended unexpectedly."""
        may = {start.entry.executable for start in self._starts if start.entry.finishes or start.entry.completes}
        codes = {name: process.poll() for name, (process, _) in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None and not (name in may and code == 0)}

    @property
    def complete(self) -> bool:
        """Whether the graph has finished: a node that ``completes`` it has ended with exit code 0."""
        names = [start.entry.executable for start in self._starts if start.entry.completes]
        return any(name in self._running and self._running[name][0].poll() == 0 for name in names)

    def stop(self) -> dict[str, int]:
        """End all nodes, the last started first; executable -> exit code."""
        codes = {}
        for name, (process, log) in reversed(self._running.items()):
            codes[name] = _stop(process, self._patience)
            log.close()
        self._running.clear()
        return codes

    def tail(self, executable: str, lines: int = 15) -> str:
        """The last lines of a node's log."""
        text = (self._logs / f"{executable}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _stop(process: subprocess.Popen[bytes], patience: float) -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is None:
        process.kill()
    return process.wait()
