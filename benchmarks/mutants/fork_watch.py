"""How long a mutant's tests may run: by the CPU time of all their processes, so that a busy machine kills nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SPARE, FACTOR = 6.0, 2.0  # seconds of CPU beside a multiple of what the tests take without the mutant (while recorded)
SPARE_WALL, FACTOR_WALL = 60.0, 10.0  # the same of the clock, in which no process of it runs or could run
EVERY = 0.25  # seconds between two looks


@dataclass(frozen=True)
class Seconds:
    """What tests take: seconds of ``cpu``, child processes included, and of the ``clock``."""

    cpu: float
    clock: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.cpu + other.cpu, self.clock + other.clock)

    def limit(self) -> Seconds:
        """What they may take with a mutant."""
        return Seconds(SPARE + FACTOR * self.cpu, SPARE_WALL + FACTOR_WALL * self.clock)


class ForkWatch:
    """Looks at a fork now and then, from now on; ``limit``: what it may take."""

    def __init__(self, pid: int, limit: Seconds) -> None:
        self._pid, self._limit = pid, limit
        self._began = self._looked = time.monotonic()
        self._waited = 0.0  # seconds in which it slept whenever it was looked at

    @property
    def seconds(self) -> float:
        """Since it began, of the clock."""
        return time.monotonic() - self._began

    def over(self) -> str:
        """Which limit it has passed: "cpu"; "clock" where it has waited that long; or "" for none."""
        passed = time.monotonic() - self._looked
        if passed < EVERY:
            return ""
        self._looked += passed
        if cpu_seconds(self._pid) > self._limit.cpu:
            return "cpu"
        self._waited += passed * all_sleep(self._pid)
        return "clock" if self._waited > self._limit.clock else ""


def all_sleep(pid: int) -> bool:
    """Whether no thread of a process and its descendants runs, or would if a processor were free."""
    states = set()
    for process in _tree(pid):
        for task in Path(f"/proc/{process.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                states.add(task.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0])
    return not states - {"S", "Z"}


def cpu_seconds(pid: int) -> float:
    """CPU time that a process, its living descendants, and those that they have waited for have taken, in seconds."""
    total = 0.0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def end_fork(pid: int) -> None:
    """Kill a fork with all that it has started; it may have ended before."""
    for process in _tree(pid)[1:]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
