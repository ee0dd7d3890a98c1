"""Runs one reader in a child process, and measures its time and memory over what it began with."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.shared.own_memory import own_memory

KILLED_AFTER = 30.0  # seconds; far over the limit, so that a violation is measured
MADE_WITHIN = 180.0  # seconds for the bomb itself
CEILING = 6 * 2**30  # bytes of address space over the start: the machine survives a bomb that goes off


@dataclass(frozen=True)
class Case:
    """One bomb.

    format: of file or message.  name: what is wrong.  make: writes it into a folder.  read: the reader, on that folder.
    reads: it may be read right, because a bound holds while it is read; else it must be refused.
    """

    format: str
    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    reads: bool = False


@dataclass(frozen=True)
class Outcome:
    """``answer``: "refused", "read", or what went wrong; ``text``: of the error; peak bytes over the start; seconds."""

    answer: str
    text: str
    peak: int
    seconds: float


def run_case(case: Case, folder: Path) -> Outcome:
    """Make the bomb in one child, read it in another."""
    folder.mkdir()
    made = Child(lambda: case.make(folder)).wait(MADE_WITHIN)
    if made.answer != "read":
        return Outcome("not made", made.text, 0, 0.0)
    return Child(lambda: case.read(folder)).wait(KILLED_AFTER)


class Child:
    """A process that works, and answers with an `Outcome`."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._reading)
            _answer(work, writing)
        os.close(writing)

    def wait(self, within: float) -> Outcome:
        """Its outcome; it is killed after ``within`` seconds."""
        ready, _, _ = select.select([self._reading], [], [], within)
        if not ready:
            os.kill(self._child, signal.SIGKILL)
        data = b""
        while ready and (part := os.read(self._reading, 65_536)):
            data += part
        os.close(self._reading)
        _, status = os.waitpid(self._child, 0)
        if not data:
            what = f"no answer within {within:.0f} s" if not ready else f"the process ended by {status}"
            return Outcome(what, "", 0, within if not ready else 0.0)
        return Outcome(**json.loads(data))


def _answer(work: Callable[[], Any], writing: int) -> None:
    """In the child: work, write the outcome, and leave without any of the parent's clean-up."""
    try:
        begun = own_memory("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (begun + CEILING, begun + CEILING))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
        before, start = own_memory("VmRSS"), time.monotonic()
        answer, text = _outcome(work)
        seconds, peak = time.monotonic() - start, own_memory("VmHWM") - before
        os.write(writing, json.dumps({"answer": answer, "text": text, "peak": peak, "seconds": seconds}).encode())
    finally:
        os._exit(0)


def _outcome(work: Callable[[], Any]) -> tuple[str, str]:
    from vla_agent.errors import VlaAgentError

    try:
        work()
    except VlaAgentError as error:
        whole = error.expected is not None and error.found is not None and error.remedy is not None
        text = " ".join(str(error).split())[:300]
        return ("refused" if whole else "an error without expected, found and remedy"), text
    except BaseException as error:  # of any kind: a reader may raise typed errors alone
        return f"{type(error).__name__} instead of a typed error", " ".join(str(error).split())[:300]
    return "read", ""
