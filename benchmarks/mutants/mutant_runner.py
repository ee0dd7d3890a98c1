"""Runs the tests of a module on its mutants, each in a fork of a process that has the libraries loaded.

Every slot has its own copy of the checkout; the mutant is written into the copy, so that child processes see it, too.
First the tests run that execute the changed statement; where they pass, all tests of the module.  A mutant is killed
where a test fails, the process dies, or the time is up.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.covering_tests import LineRecorder, Recorded, Selection, covering_tests, read_recorded
from benchmarks.mutants.mutations import Mutation
from vla_agent.errors import OptionError

COPIED = ("benchmarks", "config", "docs", "examples", "gates", "launch", "policies", "sim", "tests", "vla_agent")
OURS = ("vla_agent", "sim", "benchmarks", "tests", "conftest")  # modules that each fork imports anew
LINES, LIBRARIES = "lines.json", "libraries.txt"  # what the tests without a mutant leave in a copy
MEMORY = 16 * 2**30  # bytes of address space that a mutant may take
SPARE = 20.0  # seconds that a mutant may take beside FACTOR times as long as the tests without it
FACTOR = 3.0  # the tests without it are slowed down by the recorder, too
NOT_LOADED = (
    "OpenGL",
    "glfw",
    "mujoco.egl",
    "mujoco.glfw",
    "mujoco.osmesa",
    "ray",
    "rclpy",
)  # have threads or a display


@dataclass(frozen=True)
class Job:
    """A mutant: the mutation, the module's source without and with it, and the test files that must notice."""

    mutation: Mutation
    source: str
    changed: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: ``result`` is "killed", "timeout" (killed, too) or "survived"; ``killer``: the test."""

    job: Job
    result: str
    seconds: float
    killer: str


@dataclass
class _Slot:
    """A copy of the checkout, and the fork that runs in it; ``few``: it runs the tests of the statement alone."""

    root: Path
    few: bool = False
    pid: int = 0
    job: Job | None = None
    started: float = 0.0
    limit: float = 0.0


def copy_checkout(source: Path, target: Path) -> Path:
    """Copy what the tests need."""
    ignore = shutil.ignore_patterns("__pycache__", "*.partial", "results", "img")
    for name in COPIED:
        shutil.copytree(source / name, target / name, ignore=ignore, symlinks=True)
    for file in source.iterdir():
        if file.is_file():
            shutil.copy2(file, target / file.name)
    (target / "benchmarks" / "results").mkdir()
    return target


class MutantRunner:
    """Runs jobs in ``workers`` slots at a time.

    Args:
        root: the checkout.
        scratch: an empty folder for the slots' copies.
        workers: forks at a time.
    """

    def __init__(self, root: Path, scratch: Path, workers: int) -> None:
        self._stamp = 1_000_000_000
        self._slots = [_Slot(copy_checkout(root, scratch / f"slot{k}")) for k in range(workers)]
        self._usual: dict[tuple[str, ...], float] = {}
        self._recorded: dict[tuple[str, ...], Recorded] = {}

    def check_tests(self, jobs: Iterable[Job]) -> None:
        """Run the tests of the jobs without a mutant: they must pass; their times are the measure of the mutants'.

        The libraries that they load are loaded here, so that later forks have them, and the lines noted that each
        test executes.

        Raises:
            OptionError: they fail.
        """
        modules: dict[tuple[str, ...], set[str]] = {}
        for job in jobs:
            modules.setdefault(job.tests, set()).add(job.mutation.module)
        for files in modules:
            for slot in self._slots:  # each slot: it leaves the compiled modules behind
                began = time.monotonic()
                slot.pid = _fork(slot.root, files, recorder=LineRecorder(slot.root, modules[files]))
                _, status = os.waitpid(slot.pid, 0)
                if status:
                    raise OptionError(
                        "the tests fail without a mutant",
                        key=" ".join(files),
                        expected="all pass",
                        found=_last_lines(slot.root),
                        remedy="mend them first",
                    )
                self._usual[files] = max(self._usual.get(files, 0.0), time.monotonic() - began)
                self._recorded[files] = read_recorded(slot.root / LINES)
                _load((slot.root / LIBRARIES).read_text(encoding="utf-8").split())

    def run(self, jobs: Iterable[Job], report: Callable[[Outcome], None] = lambda outcome: None) -> list[Outcome]:
        """The outcome of every job, in the order in which they end."""
        outcomes: list[Outcome] = []
        waiting, todo = iter(jobs), True
        while todo or any(slot.job for slot in self._slots):
            for slot in self._slots:
                if slot.job is not None:
                    ended = self._poll(slot)
                    if ended is not None:
                        outcomes.append(ended)
                        report(ended)
                if slot.job is None and todo:
                    job = next(waiting, None)
                    todo = job is not None
                    if job is not None:
                        self._start(slot, job)
            time.sleep(0.005)
        return outcomes

    def _start(self, slot: _Slot, job: Job) -> None:
        self._write(slot, job.mutation.module, job.changed)
        mutation = job.mutation
        chosen = covering_tests(self._recorded[job.tests].lines, job.source, mutation.module, mutation.line)
        slot.job, slot.few = job, bool(chosen)
        self._fork_in(slot, chosen)

    def _fork_in(self, slot: _Slot, chosen: list[str]) -> None:
        """Run the chosen tests of the slot's job; all of them where none is chosen."""
        assert slot.job is not None
        files = tuple(dict.fromkeys(test.partition("::")[0] for test in chosen)) or slot.job.tests
        seconds = self._recorded[slot.job.tests].seconds
        usual = sum(seconds[test] for test in chosen) if chosen else self._usual[slot.job.tests]
        slot.started, slot.limit = time.monotonic(), SPARE + FACTOR * usual
        slot.pid = _fork(slot.root, files, selection=Selection(chosen) if chosen else None)

    def _poll(self, slot: _Slot) -> Outcome | None:
        """The outcome of the slot's job, None while it runs."""
        assert slot.job is not None
        ended, status = os.waitpid(slot.pid, os.WNOHANG)
        seconds = time.monotonic() - slot.started
        if not ended and seconds <= slot.limit:
            return None
        with contextlib.suppress(ProcessLookupError):  # also what the tests have started
            os.killpg(slot.pid, signal.SIGKILL)
        if not ended:
            os.waitpid(slot.pid, 0)
        if ended and not status and slot.few:
            slot.few = False
            self._fork_in(slot, [])
            return None
        job, slot.job = slot.job, None
        self._write(slot, job.mutation.module, job.source)
        result = "timeout" if not ended else "killed" if status else "survived"
        return Outcome(job, result, seconds, _killer(slot.root) if result == "killed" else "")

    def _write(self, slot: _Slot, module: str, source: str) -> None:
        """Write a module into a slot, with a time of its own: no compiled module of another source is taken for it."""
        self._stamp += 10
        file = slot.root / module
        file.write_text(source, encoding="utf-8")
        os.utime(file, (self._stamp, self._stamp))


def _fork(
    root: Path, tests: tuple[str, ...], recorder: LineRecorder | None = None, selection: Selection | None = None
) -> int:
    """Fork; the child runs the tests in ``root`` and ends with 0 where all pass.

    With a recorder it leaves behind compiled modules, the lines that were executed, and the names of the libraries.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _redirect(root / "tests.log")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _forget_ours(root)
        sys.dont_write_bytecode = recorder is None
        os.environ |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1" if recorder is None else ""}
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        import pytest

        options = ["-x", "-q", "-o", "addopts=--strict-markers", "-p", "no:cacheprovider"]
        plugins = [plugin for plugin in (recorder, selection) if plugin is not None]
        code = int(pytest.main([*options, f"--basetemp={root / 'tmp'}", f"--rootdir={root}", *tests], plugins))
        sys.stdout.flush()
        if recorder is not None:
            recorder.write(root / LINES)
            (root / LIBRARIES).write_text("\n".join(list(sys.modules)), encoding="utf-8")
        os._exit(code)
    except BaseException:
        os._exit(70)


def _load(names: Iterable[str]) -> None:
    """Import libraries: all but the project's own modules and those that a fork would not survive."""
    for name in names:
        if name.partition(".")[0] not in OURS and not name.startswith((*NOT_LOADED, "test_")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _redirect(log: Path) -> None:
    """Output goes to ``log``, input comes from nowhere."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(number, target)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def _forget_ours(root: Path) -> None:
    """The project's modules are imported anew, from ``root``."""
    for name in [n for n in sys.modules if n.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.meta_path = [f for f in sys.meta_path if "vla_agent" not in getattr(f, "__module__", "")]
    checkout = str(Path(__file__).parents[2])
    sys.path = [str(root), *(p for p in sys.path if p not in ("", ".", checkout))]
    os.chdir(root)
    importlib.invalidate_caches()


def _killer(root: Path) -> str:
    """The first test that failed, by the log."""
    text = (root / "tests.log").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _last_lines(root: Path) -> str:
    return "\n".join((root / "tests.log").read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def modules_below(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """The Python files that ``paths`` (files or folders of the checkout) name, without ``__init__.py``."""
    for path in paths:
        found = [root / path] if (root / path).is_file() else sorted((root / path).rglob("*.py"))
        if not found:
            raise OptionError(
                "there is no such module",
                key=path,
                expected="a Python file or a folder of them in the checkout",
                found="nothing",
                remedy="correct benchmarks/mutants/guarded.yaml or --module",
            )
        yield from (str(file.relative_to(root)) for file in found if file.name != "__init__.py")
