"""Runs the tests of a module on its mutants, each in a fork of a process that has the libraries loaded.

Every slot has its own copy of the checkout; the mutant is written into the copy, so that child processes see it, too.
The tests run that execute the changed statement, the fastest first; where none does, all tests of the module: perhaps
a child process executes it.
A mutant is killed where a test fails, the process dies, or the CPU time is up.  One that has waited too long for
something is tried again at the end, alone; waiting for a free processor does not count.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.covering_tests import LineRecorder, Recorded, covering_tests, read_recorded
from benchmarks.mutants.fork_watch import ForkWatch, Seconds, end_fork
from benchmarks.mutants.mutations import Mutation
from benchmarks.mutants.pytest_forks import (
    LINES,
    copy_checkout,
    fork_tests,
    killer,
    last_lines,
    load_libraries,
    selection,
    share_compiled,
)
from vla_agent.errors import OptionError

WAIT = 0.005  # seconds between two looks whether a fork has ended


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


Report = Callable[[Outcome], None]


class _Slot:
    """A copy of the checkout, and the fork that runs in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pid = 0
        self.job: Job | None = None
        self._time = 0  # of the module without the mutant

    def fork(self, tests: Sequence[str], limit: Seconds) -> None:
        """Run the tests (node ids), the first ones first."""
        chosen = selection(self.root, tests)
        self.pid = fork_tests(self.root, chosen.files, cpu=2 * limit.cpu, plugin=chosen)
        self.watch = ForkWatch(self.pid, limit)

    def put_in(self, job: Job, stamp: float) -> None:
        """Write the mutant, with a time of its own: no compiled module of another source is taken for it.

        Raises:
            OptionError: the module has changed since the mutant was made of it.
        """
        file = self.root / job.mutation.module
        if file.read_text(encoding="utf-8") != job.source:
            raise OptionError(
                "the module has changed meanwhile",
                file=file.relative_to(self.root),
                expected="what the mutants were made of",
                found="another source",
                remedy="run it again; what is done is kept",
            )
        self._time = file.stat().st_mtime_ns
        self.job = job
        file.write_text(job.changed, encoding="utf-8")
        os.utime(file, (stamp, stamp))

    def take_out(self) -> Job:
        """Write the module as it was, and at its time, so that its compiled one serves again; returns the job."""
        assert self.job is not None
        job, self.job = self.job, None
        file = self.root / job.mutation.module
        file.write_text(job.source, encoding="utf-8")
        os.utime(file, ns=(self._time, self._time))
        return job

    def stop(self) -> None:
        """End what runs."""
        if self.pid:
            end_fork(self.pid)
            os.waitpid(self.pid, 0)
            self.pid = 0


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
        self._recorded: dict[tuple[str, ...], Recorded] = {}

    @property
    def root(self) -> Path:
        """A copy of the checkout in which tests run."""
        return self._slots[0].root

    def check_tests(self, jobs: Iterable[Job]) -> None:
        """Run the tests of the jobs without a mutant: they must pass; their times are the measure of the mutants'.

        The libraries that they load are loaded here, so that later forks have them, and the lines noted that each
        test executes.

        Raises:
            OptionError: they fail.
        """
        modules: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for job in jobs:
            modules[job.tests].add(job.mutation.module)
        waiting = list(modules)
        running: list[tuple[_Slot, tuple[str, ...]]] = []
        try:
            while waiting or running:
                for slot in self._slots:
                    if not slot.pid and waiting:
                        files = waiting.pop()
                        recorder = LineRecorder(slot.root, modules[files])
                        slot.pid = fork_tests(slot.root, files, plugin=recorder)
                        running.append((slot, files))
                running = [(slot, files) for slot, files in running if not self._recorded_by(slot, files)]
                time.sleep(WAIT)
        finally:
            self._stop()
        share_compiled([slot.root for slot in self._slots])

    def _recorded_by(self, slot: _Slot, files: tuple[str, ...]) -> bool:
        """Whether the recording of these test files in a slot has ended; what it found is kept."""
        ended, status = os.waitpid(slot.pid, os.WNOHANG)
        if not ended:
            return False
        slot.pid = 0
        _refuse_failures(slot, status, files)
        self._recorded[files] = read_recorded(slot.root / LINES)
        load_libraries(slot.root)
        return True

    def check_killers(self, outcomes: Iterable[Outcome]) -> None:
        """Run the tests that killed mutants once more without one: they must pass.

        Raises:
            OptionError: they fail.
        """
        killers = sorted({o.killer for o in outcomes if o.killer})
        if killers:
            slot = self._slots[0]
            slot.fork(killers, Seconds(3600.0, 3600.0))
            _, status = os.waitpid(slot.pid, 0)
            slot.pid = 0
            _refuse_failures(slot, status, killers)

    def run(self, jobs: Iterable[Job], report: Report = lambda outcome: None) -> list[Outcome]:
        """The outcome of every job, in the order in which they end."""
        outcomes: list[Outcome] = []
        late: list[Job] = []

        def settle(outcome: Outcome) -> None:
            if outcome.result == "late":
                late.append(outcome.job)
            else:
                outcomes.append(outcome)
                report(outcome)

        try:
            self._run(jobs, self._slots, settle)
            again, late = late, []
            self._run(again, self._slots[:1], settle)
        finally:
            self._stop()
        for outcome in (Outcome(job, "timeout", 0.0, "") for job in late):
            outcomes.append(outcome)
            report(outcome)
        return outcomes

    def _run(self, jobs: Iterable[Job], slots: Sequence[_Slot], settle: Report) -> None:
        waiting = list(jobs)[::-1]
        while waiting or any(slot.job for slot in slots):
            for slot in slots:
                if slot.job is not None:
                    ended = self._poll(slot)
                    if ended is not None:
                        settle(ended)
                if slot.job is None and waiting:
                    self._start(slot, waiting.pop())
            time.sleep(WAIT)

    def _start(self, slot: _Slot, job: Job) -> None:
        self._stamp += 10
        slot.put_in(job, self._stamp)
        recorded = self._recorded[job.tests]
        chosen = covering_tests(recorded.lines, job.source, job.mutation.module, job.mutation.line)
        by_speed = recorded.by_speed()
        wanted = set(chosen or by_speed)
        tests = [test for test in by_speed if test in wanted]
        slot.fork(tests, sum((recorded.seconds[test] for test in tests), Seconds(0.0, 0.0)).limit())

    def _poll(self, slot: _Slot) -> Outcome | None:
        """The outcome of the slot's job, None while it runs; its result is "late" where the clock alone stopped it."""
        assert slot.job is not None
        ended, status = os.waitpid(slot.pid, os.WNOHANG)
        over = "" if ended else slot.watch.over()
        if not ended and not over:
            return None
        seconds = slot.watch.seconds
        if ended:
            end_fork(slot.pid)  # also what the tests have started
            slot.pid = 0
        slot.stop()
        result = {"cpu": "timeout", "clock": "late"}.get(over) or ("killed" if status else "survived")
        return Outcome(slot.take_out(), result, seconds, killer(slot.root) if result == "killed" else "")

    def _stop(self) -> None:
        for slot in self._slots:
            slot.stop()


def _refuse_failures(slot: _Slot, status: int, tests: Sequence[str]) -> None:
    """Raise where tests without a mutant have not passed."""
    if status:
        raise OptionError(
            "the tests fail without a mutant",
            key=" ".join(tests),
            expected="all pass",
            found=last_lines(slot.root),
            remedy="mend them first",
        )
