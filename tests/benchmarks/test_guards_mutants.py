"""The mutation tool: what it changes, what it leaves alone, and that it tells tests that notice from others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil", reason="pip install 'vla_agent[mutants]'")
pytest.importorskip("cosmic_ray", reason="pip install 'vla_agent[mutants]'")

from benchmarks.gate import guards_mutants  # noqa: E402
from benchmarks.mutants import fork_watch, pytest_forks  # noqa: E402
from benchmarks.mutants.covering_tests import Recorded, covering_tests  # noqa: E402
from benchmarks.mutants.fork_watch import ForkWatch, Seconds, all_sleep, cpu_seconds, end_fork  # noqa: E402
from benchmarks.mutants.guarded_modules import (  # noqa: E402
    Group,
    draw,
    every,
    guarded_modules,
    read_equivalents,
    read_groups,
)
from benchmarks.mutants.mutant_runner import Job, MutantRunner, Outcome  # noqa: E402
from benchmarks.mutants.mutations import Mutation, difference, find_places, mutate  # noqa: E402
from benchmarks.mutants.outcome_file import OutcomeFile  # noqa: E402
from vla_agent.errors import OptionError  # noqa: E402

ROOT = Path(__file__).parents[2]
MODULE = "vla_agent/limits.py"
SOURCE = '''\
"""Limits."""

from __future__ import annotations

MOST = 3


class TooMuch(ValueError):
    def __str__(self) -> str:
        return "more" if len(self.args) > 1 else "less"


def check(value: int | None, *, most: int = MOST) -> None:
    """Raise where a value is too much."""
    if value is not None and value > most:
        raise TooMuch(f"{value + 1}", value * 2)


def checked(value: int) -> int:
    check(value)
    return value
'''
TESTS = """\
import time

import pytest

from vla_agent.limits import checked


def test_at_the_limit_and_beyond():
    assert checked(3) == 3
    with pytest.raises(ValueError):
        checked(4)


def test_far_inside():
    assert checked(0) == 0
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of one module and one test file."""
    for name in ("vla_agent", "tests", "benchmarks"):
        (tmp_path / name).mkdir()
    (tmp_path / "vla_agent" / "__init__.py").touch()
    (tmp_path / MODULE).write_text(SOURCE)
    (tmp_path / "tests" / "test_limits.py").write_text(TESTS)
    monkeypatch.setattr(pytest_forks, "COPIED", ("vla_agent", "tests", "benchmarks"))
    return tmp_path


def changes(checkout: Path) -> set[tuple[str, str]]:
    jobs = every(checkout, {MODULE: ("tests/test_limits.py",)})
    return {difference(job.source, job.changed) for job in jobs}


def test_what_is_changed_and_what_is_left_alone(checkout):
    found = changes(checkout)
    condition = "if value is not None and value > most:"
    assert {
        ("MOST = 3", "MOST = 4"),
        ("MOST = 3", "MOST = 2"),
        (condition, "if False:"),
        (condition, "if value is not None or value > most:"),
        (condition, "if value is None and value > most:"),
        ("check(value)", "None"),
    } <= found
    for place in find_places(checkout, MODULE):
        for mutation in place:
            changed = mutate(SOURCE, mutation)
            before = difference(SOURCE, changed)[0] if changed else SOURCE.splitlines()[mutation.line - 1].strip()
            assert before == SOURCE.splitlines()[mutation.line - 1].strip(), "where it says"
    lines = {before for before, _ in found}
    assert lines == {"MOST = 3", condition, "check(value)"}, (
        "neither texts nor annotations nor the stars of a signature"
    )


def test_a_sample_is_the_seeds_and_has_one_mutant_of_a_place(checkout):
    modules = {MODULE: ("tests/test_limits.py",)}
    first, again, other = (draw(checkout, modules, 4, seed) for seed in ("1", "1", "2"))
    assert [j.changed for j in first] == [j.changed for j in again] and len(first) == 4
    assert {j.changed for j in first} != {j.changed for j in other}
    places = {(m.line, m.column, m.family) for m in (j.mutation for j in first)}
    assert len(places) == 4
    assert len(draw(checkout, modules, 999, "1")) <= len(find_places(checkout, MODULE))


def test_a_mutation_that_is_no_change_or_no_program_is_none(checkout):
    (mutation,) = next(place for place in find_places(checkout, MODULE) if place[0].operator == "DropCall")
    assert mutate(SOURCE, mutation) == SOURCE.replace("    check(value)\n", "    None\n")
    assert mutate(SOURCE.replace("    check(value)\n", "    value\n"), mutation) is None


def test_tests_are_chosen_by_the_statement_that_they_execute():
    lines = {"one": {MODULE: [15, 16]}, "two": {MODULE: [15]}, "three": {MODULE: [20, 21]}, "four": {}}
    lines["other"] = {"vla_agent/other.py": [1]}
    assert "raise" in SOURCE.splitlines()[15] and "return value" in SOURCE.splitlines()[20]
    at = {n: covering_tests(lines, SOURCE, MODULE, n) for n in (5, 15, 16, 20)}
    assert at == {5: ["one", "two", "three", "four"], 15: ["one", "two"], 16: ["one"], 20: ["three"]}


def test_tests_without_costly_fixtures_come_first():
    seconds = {"alone": Seconds(2.0, 2.0), "quick": Seconds(0.1, 0.1), "shares": Seconds(0.01, 0.01)}
    recorded = Recorded(dict.fromkeys(seconds, {}), seconds, {"alone": 0.0, "quick": 0.0, "shares": 5.0})
    assert recorded.by_speed() == ["quick", "alone", "shares"]


def job(change: tuple[str, str]) -> Job:
    old, new = change
    assert SOURCE.count(old) == 1
    line = SOURCE[: SOURCE.index(old)].count("\n") + 1
    return Job(Mutation(MODULE, "by hand", 0, line, 0), SOURCE, SOURCE.replace(old, new), ("tests/test_limits.py",))


def test_tests_that_notice_kill_and_others_do_not(checkout, tmp_path_factory, monkeypatch):
    """What the clock alone stops is tried again: one that waits once survives, one that always waits does not."""
    monkeypatch.setattr(fork_watch, "SPARE", 2.0)
    monkeypatch.setattr(fork_watch, "SPARE_WALL", 2.0)
    waited = checkout / "waited"
    once = f"p = __import__('pathlib').Path('{waited}')\n    p.exists() or p.touch() or __import__('time').sleep(60)"
    jobs = {
        "killed": job(("value > most", "value >= most")),
        "by dying": job(("    check(value)\n", "    __import__('os').abort()\n")),
        "not imported": job(("MOST = 3", "MOST = nothing")),
        "computes for ever": job(("    check(value)\n", "    while True: pass\n")),
        "waits for ever": job(("    check(value)\n", "    __import__('time').sleep(60)\n")),
        "waits once": job(("    check(value)\n", f"    {once}\n    check(value)\n")),
        "survived": job(("value is not None and", "True and")),
    }
    runner = MutantRunner(checkout, tmp_path_factory.mktemp("scratch"), workers=2)
    runner.check_tests(jobs.values())
    outcomes = {id(o.job): o for o in runner.run(jobs.values())}
    results = {name: outcomes[id(j)].result for name, j in jobs.items()}
    assert results == {
        "killed": "killed",
        "by dying": "killed",
        "not imported": "killed",
        "computes for ever": "timeout",
        "waits for ever": "timeout",
        "waits once": "survived",
        "survived": "survived",
    }
    assert waited.exists()
    assert outcomes[id(jobs["killed"])].killer == "tests/test_limits.py::test_at_the_limit_and_beyond"
    assert (checkout / MODULE).read_text() == SOURCE, "the checkout itself is never changed"
    assert (runner.root / MODULE).read_text() == SOURCE, "and its copies are as before"
    runner.check_killers(outcomes.values())
    (runner.root / "tests" / "test_limits.py").write_text(TESTS.replace("checked(3) == 3", "checked(3) == 4"))
    with pytest.raises(OptionError, match="fail without a mutant"):
        runner.check_killers(outcomes.values())
    (runner.root / MODULE).write_text("changed")
    with pytest.raises(OptionError, match="changed meanwhile"):
        runner.run([jobs["killed"]])


@pytest.fixture
def computing():
    """A process whose child computes."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    while not psutil.Process(process.pid).children():
        time.sleep(0.02)
    yield process.pid, psutil.Process(process.pid).children()[0]
    end_fork(process.pid)
    process.wait()


def over_after(watch: ForkWatch, seconds: float) -> str:
    """What is passed, asked for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        if found := watch.over():
            return found
    return ""


def test_time_is_that_of_all_processes_of_a_fork(computing):
    pid, child = computing
    assert over_after(ForkWatch(pid, Seconds(0.3, 600.0)), 60.0) == "cpu" and cpu_seconds(pid) > 0.3
    assert not all_sleep(pid), "the child runs, or would"
    end_fork(pid)
    assert child.wait(60) is None or not child.is_running()


def test_a_busy_machine_takes_no_time_from_a_fork(computing):
    """A process that is held up is none that waits."""
    pid, child = computing
    child.suspend()
    assert over_after(ForkWatch(pid, Seconds(600.0, 0.2)), 1.0) == ""
    child.kill()
    child.wait(60)
    sleeping = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert over_after(ForkWatch(sleeping.pid, Seconds(600.0, 0.2)), 60.0) == "clock"
    end_fork(sleeping.pid)
    sleeping.wait()
    assert cpu_seconds(sleeping.pid) == 0.0


def outcome_of(made: Job, result: str, killer: str = "") -> Outcome:
    return Outcome(made, result, 1.0, killer)


def test_outcomes_are_kept_until_the_module_or_the_tests_that_they_depend_on_change(checkout, tmp_path):
    (checkout / "tests" / "test_more.py").write_text("")
    both = ("tests/test_limits.py", "tests/test_more.py")
    killed, survived = (
        replace(job(change), tests=both) for change in (("value > most", "value >= most"), ("None and", "1 and"))
    )
    file = tmp_path / "kept" / "outcomes.jsonl"
    assert OutcomeFile(file, checkout).kept([killed, survived]) == []
    first = OutcomeFile(file, checkout)
    outcomes = [
        outcome_of(killed, "killed", "tests/test_limits.py::test_far_inside[a b]"),
        outcome_of(survived, "survived"),
    ]
    for outcome in outcomes:
        first.append(outcome)
    assert OutcomeFile(file, checkout).kept([survived, killed]) == outcomes[::-1]
    assert OutcomeFile(file, checkout).kept([replace(killed, source=SOURCE + "#")]) == [], "another module"
    assert OutcomeFile(file, checkout).kept([replace(killed, tests=both[1:])]) == [], "not by these tests"
    (checkout / "tests" / "test_more.py").write_text("# another test")
    assert OutcomeFile(file, checkout).kept([survived, killed]) == outcomes[:1], "more tests may kill a survivor"
    for name, text, counts in (
        ("tests/test_limits.py", TESTS + "\n\ndef test_more():\n    pass\n", True),
        ("tests/test_limits.py", TESTS.replace("checked(0)", "checked(1)"), False),
        ("tests/test_limits.py", TESTS + "\n\nvalue = 1\n", False),
        ("conftest.py", "", False),
    ):
        before = (checkout / name).read_text() if (checkout / name).exists() else None
        (checkout / name).write_text(text)
        assert bool(OutcomeFile(file, checkout).kept([survived, killed])) is counts, text
        (checkout / name).unlink() if before is None else (checkout / name).write_text(before)
    assert OutcomeFile(file, checkout).kept([killed]) == outcomes[:1]
    first.drop([outcomes[0]])
    assert OutcomeFile(file, checkout).kept([killed]) == []


def test_a_line_of_outcomes_that_was_cut_off_is_tried_again_and_a_wrong_one_refused(checkout, tmp_path):
    file, made = tmp_path / "outcomes.jsonl", job(("value > most", "value >= most"))
    OutcomeFile(file, checkout).append(outcome_of(made, "survived"))
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:-5])
    assert len(OutcomeFile(file, checkout).kept([made])) == 1
    OutcomeFile(file, checkout).append(outcome_of(made, "timeout"))
    assert len(file.read_bytes().splitlines()) == 2
    assert OutcomeFile(file, checkout).kept([made])[0].result == "timeout", "the latest counts"
    file.write_bytes(whole.replace(b'"format": 1', b'"format": 0'))
    with pytest.raises(OptionError, match="line 1"):
        OutcomeFile(file, checkout).kept([made])


def test_a_run_that_is_stopped_goes_on_and_counts_by_group(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(guards_mutants, "ROOT", checkout)
    groups = {name: Group(sample=2, at_least=least, guards=[]) for name, least in (("a", 50.0), ("b", 100.0))}
    jobs = [
        ("a", job(("value > most", "value >= most"))),
        ("a", job(("value is not None and", "True and"))),
        ("b", job(("    check(value)\n", "    None\n"))),
    ]
    file, tried, run = tmp_path / "outcomes.jsonl", [], MutantRunner.run

    def counted(self, todo, report):
        tried.extend(todo)
        return run(self, todo, report)

    monkeypatch.setattr(MutantRunner, "run", counted)
    guards_mutants.try_mutants(groups, jobs[:2], workers=1, file=file)
    tally = guards_mutants.try_mutants(groups, jobs, workers=1, file=file)
    assert tried == [made for _, made in jobs], "each once"
    assert tally.line() == "killed 2/3: a 1/2, b 1/1" and tally.reached and len(tally.survivors) == 1
    assert [row["percent"] for row in tally.rows()] == [50.0, 100.0]


def test_a_sigterm_ends_a_run_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), guards_mutants._ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_lists_of_modules_and_of_equivalent_mutants_are_those_of_this_checkout():
    modules = {}
    for group in read_groups().values():
        modules |= guarded_modules(ROOT, group)
    assert len(modules) > 50 and all((ROOT / test).is_file() for tests in modules.values() for test in tests)
    for equivalent in read_equivalents().values():
        lines = [line.strip() for line in (ROOT / equivalent.module).read_text(encoding="utf-8").splitlines()]
        assert equivalent.line in lines and equivalent.line != equivalent.mutant and equivalent.why
