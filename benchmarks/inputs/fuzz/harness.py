"""Runs cases in a child process with limits, and watches from outside: errors, time, memory, and what is written where.

A child plays one case after the other and says when each begins and ends.  Where it hangs or dies, the case is a fault,
and another child goes on after it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.fuzz.target import Target
from benchmarks.shared.own_memory import own_memory

HANG = 10.0  # seconds of processor time for one case
ASLEEP = 120.0  # seconds for one case, however little it computes
MEMORY = 2 * 2**30  # bytes over what the process had before the case
CEILING = 4 * 2**30  # bytes of address space over the start: the machine survives
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Case:
    """What became of one case: ``refused`` with a typed error, ``read``, or ``fault`` with its text."""

    target: str
    number: int
    answer: str
    text: str = ""


def play(targets: Sequence[Target], seed: int, seconds: float, first: int = 0, last: int = 2**31) -> Iterator[Case]:
    """Cases ``first`` to ``last``, for so many seconds; case k is of target k modulo their number.

    Args:
        seed: of all random changes; a case depends on it and on its number alone.
    """
    end = time.monotonic() + seconds
    memory = Path("/dev/shm")  # nothing waits for a disk
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as box:
        number = first
        while number < last and time.monotonic() < end:
            child = _Child(targets, seed, number, last, Path(box))
            for case in child.cases(end):
                yield case
                number = case.number + 1
            child.kill()


class _Child:
    """A process that plays cases from ``first`` on."""

    def __init__(self, targets: Sequence[Target], seed: int, first: int, last: int, box: Path) -> None:
        self._targets, self._first = targets, first
        self._reading, writing = os.pipe()
        self._rest = b""
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reading)
            _work(targets, seed, first, last, box, writing)
        os.close(writing)

    def cases(self, end: float) -> Iterator[Case]:
        """Each case when it is done, until ``end``, or the first that hangs or ends the process."""
        number = self._first
        begun, spent = time.monotonic(), self._cpu()
        while time.monotonic() < end:
            line = self._line()
            if line is None:
                target = self._targets[number % len(self._targets)].name
                if self._cpu() - spent > HANG or time.monotonic() - begun > ASLEEP:
                    yield Case(target, number, "fault", f"no answer within {HANG:.0f} s of processor time")
                    return
                continue
            if not line:
                _, status = os.waitpid(self._pid, 0)
                self._pid = 0
                if status:
                    target = self._targets[number % len(self._targets)].name
                    yield Case(target, number, "fault", f"the process ended by {status}")
                return
            case = Case(**json.loads(line))
            begun, spent, number = time.monotonic(), self._cpu(), case.number + 1
            yield case

    def kill(self) -> None:
        """End it, where it has not ended."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._reading)

    def _line(self) -> bytes | None:
        """The next line; empty where it has ended; None after half a second without one."""
        while b"\n" not in self._rest:
            if not select.select([self._reading], [], [], 0.5)[0]:
                return None
            data = os.read(self._reading, 65_536)
            if not data:
                return b""
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- in the child ----------------------------------------------------------------------------------------------------


def _work(targets: Sequence[Target], seed: int, first: int, last: int, box: Path, writing: int) -> None:
    """Play, and leave without any of the parent's clean-up."""
    code = 1
    try:
        sys.dont_write_bytecode = True  # an import is no output
        size = own_memory("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (size + CEILING, size + CEILING))
        place = box / "above" / "folder" / "place"  # what is written some folders further up is seen, too
        shutil.rmtree(place, ignore_errors=True)  # what a process left that was killed
        place.mkdir(parents=True)
        tempfile.tempdir = str(box / "temporary")  # what is put there has to be gone after each case
        Path(tempfile.tempdir).mkdir(exist_ok=True)
        os.environ["VLA_AGENT_CACHE"] = str(place / "out-cache")
        watch = _Watch(box)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        for number in range(first, last):
            case = _play(targets[number % len(targets)], number, seed, box, place, watch)
            os.write(writing, json.dumps(case.__dict__).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


class _Watch:
    """Files that this process opens for writing, makes, moves or deletes outside of its box."""

    def __init__(self, box: Path) -> None:
        self.box, self.outside, self.on = str(box), "", False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(arguments[2], int) and not arguments[2] & WRITES:
            return
        if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"):
            return
        for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
            name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            if name and not os.path.abspath(name).startswith((self.box, "/dev/", "/proc/")):
                self.outside = self.outside or f"{event} {name}"


def _play(target: Target, number: int, seed: int, box: Path, place: Path, watch: _Watch) -> Case:
    """Change a copy of the good input, read it, and look at what was written."""
    rng = np.random.default_rng([seed, number])
    folder = place / "case"
    shutil.copytree(_good(target, box), folder)
    if target.files:
        target.change(folder, rng)
    before = _listing(box)
    os.chdir(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
    start = own_memory("VmRSS")
    watch.outside, watch.on = "", True
    try:
        answer, text = _answer(target, folder, rng)
    finally:
        watch.on = False
    used = own_memory("VmHWM") - start
    os.chdir(box)
    new = {path for path in _listing(box) ^ before if not path.startswith(("case/out/", "out-cache"))} - {"case/out"}
    faults = [text] if answer == "fault" else []
    faults += [f"{used / 2**30:.2f} GiB"] if used > MEMORY else []
    faults += [f"written outside of the output: {watch.outside or sorted(new)[0]}"] if watch.outside or new else []
    for path in sorted(new, reverse=True):
        stray = place / path if path.startswith("case") else box / path
        if stray.is_file() and not path.startswith("case"):
            stray.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(place / "out-cache", ignore_errors=True)
    return Case(target.name, number, "fault" if faults else answer, "; ".join(faults) or text)


def _good(target: Target, box: Path) -> Path:
    """The folder with the good input of a target, made once."""
    folder = box / "good" / "".join(c if c.isalnum() else "-" for c in target.name)
    if not folder.exists():
        aside = folder.with_name(f"{folder.name}-made-{os.getpid()}")
        aside.mkdir(parents=True)
        target.make(aside)
        aside.rename(folder)
    return folder


def _listing(box: Path) -> set[str]:
    """Every path below the box but the good inputs; those of the case by their place in it."""
    found = set()
    for path in box.rglob("*"):
        if box / "good" not in (path, *path.parents):
            name = path.relative_to(box).as_posix()
            found.add(name.removeprefix("above/folder/place/"))
    return found


def _answer(target: Target, folder: Path, rng: np.random.Generator) -> tuple[str, str]:
    from vla_agent.errors import VlaAgentError

    try:
        target.read(folder, *(() if target.files else (rng,)))
    except VlaAgentError as error:
        parts = {"file or key": error.file or error.key, "expected": error.expected}
        parts |= {"found": error.found, "remedy": error.remedy}
        lacking = [name for name, part in parts.items() if part is None]
        text = f"{type(error).__name__}: {' '.join(error.what.split())}"[:200]
        return ("fault", f"{text}: without {', '.join(lacking)}") if lacking else ("refused", text)
    except BaseException as error:  # of any kind: a reader may raise typed errors alone
        places = [f for f in traceback.extract_tb(error.__traceback__) if "/vla_agent/" in f.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno} {places[-1].name}" if places else "?"
        return "fault", f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:200]}"
    return "read", ""
