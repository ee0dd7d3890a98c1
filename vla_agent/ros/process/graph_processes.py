"""Starts the nodes of a graph as processes, monitors them, and ends them in order."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from vla_agent.errors import OptionError
from vla_agent.robot.description import robot_folders
from vla_agent.ros.process.graph_table import GRAPHS, Entry, Value
from vla_agent.ros.process.start import ENDING

PATIENCE = 20.0
_PR_SET_PDEATHSIG = 1


def parameter_arguments(name: str, value: Value) -> list[str]:
    """Command-line arguments for one ROS parameter, with the type of the value."""
    text = json.dumps(value) if isinstance(value, (str, bool)) else repr(value)
    return ["-p", f"{name}:={text}"]


def node_environment() -> dict[str, str]:
    """This process's environment, with Fast DDS set up for images over 0.5 MB, and discovery limited to this host."""
    env = dict(os.environ)
    profile = next((f.parent / "fastdds.xml" for f in robot_folders() if (f.parent / "fastdds.xml").is_file()), None)
    if profile is not None:
        env.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    env.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    env.setdefault("PYTHONUNBUFFERED", "1")
    return env


def _prepare() -> None:
    """Runs in the child: it ends with its parent, and signals wait until `ros.process.start` handles them."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


class Processes:
    """The processes of a graph.

    Args:
        graph: a name of `graph_table.GRAPHS`.
        values: the graph's arguments.
        logs: folder for one log file a node.
        without: executables of the graph that are not started, because something else replaces them.
        patience: seconds from SIGINT to SIGKILL.
        before: executable -> words in front of its command, such as ``nsenter`` with a network.

    Raises:
        OptionError: ``without`` has a node that is not in the graph.
    """

    def __init__(
        self,
        graph: str,
        values: Mapping[str, Value],
        logs: Path,
        without: Sequence[str] = (),
        patience: float = PATIENCE,
        before: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        names = [entry.executable for entry in GRAPHS[graph]]
        if not set(without) <= set(names):
            raise OptionError(
                "the graph has no such node",
                key="without",
                expected=", ".join(names),
                found=", ".join(without),
                remedy="use the names of its nodes",
            )
        self._entries = [entry for entry in GRAPHS[graph] if entry.executable not in without]
        self._values, self._logs, self._patience, self._before = values, logs, patience, before or {}
        self._running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def start(self) -> None:
        """Start all nodes, in order."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for entry in self._entries:
            self._start(entry)

    def _start(self, entry: Entry) -> None:
        words = [
            *self._before.get(entry.executable, ()),
            sys.executable,
            "-m",
            "vla_agent.ros.process.start",
            entry.executable,
            "--ros-args",
        ]
        for name, value in (*entry.fixed, *((n, self._values[n]) for n in entry.arguments)):
            words += parameter_arguments(name, value)
        log = (self._logs / f"{entry.executable}.log").open("wb")
        process = subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=node_environment(),
            start_new_session=True,  # Ctrl-C is for us alone: the nodes end in order
            preexec_fn=_prepare,
        )
        self._running[entry.executable] = (process, log)

    def kill(self, executable: str) -> None:
        """End a node by SIGKILL, like a crash; `ended` does not report it."""
        process, log = self._running.pop(executable)
        process.kill()
        process.wait()
        log.close()

    def start_again(self, executable: str) -> None:
        """Start a node that was killed."""
        self._start(next(entry for entry in self._entries if entry.executable == executable))

    @property
    def names(self) -> list[str]:
        """The executables of the nodes, in the order of their start."""
        return [entry.executable for entry in self._entries]

    def process(self, executable: str) -> subprocess.Popen[bytes]:
        """The process of one node."""
        return self._running[executable][0]

    def ended(self) -> dict[str, int]:
        """Executable -> exit code of the nodes that have ended unexpectedly."""
        may = {entry.executable for entry in self._entries if entry.finishes or entry.completes}
        codes = {name: process.poll() for name, (process, _) in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None and not (name in may and code == 0)}

    @property
    def complete(self) -> bool:
        """Whether the graph has finished: a node that ``completes`` it has ended with exit code 0."""
        names = [entry.executable for entry in self._entries if entry.completes]
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
