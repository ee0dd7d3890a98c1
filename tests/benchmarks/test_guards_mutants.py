"""The mutation tool: what it changes, what it leaves alone, and that it tells tests that notice from others."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="pip install 'vla_agent[mutants]'")

from benchmarks.mutants import mutant_runner  # noqa: E402
from benchmarks.mutants.covering_tests import covering_tests  # noqa: E402
from benchmarks.mutants.guarded_modules import draw, every, guarded_modules, read_equivalents, read_groups  # noqa: E402
from benchmarks.mutants.mutant_runner import Job, MutantRunner  # noqa: E402
from benchmarks.mutants.mutations import Mutation, difference, find_places, mutate  # noqa: E402

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
    monkeypatch.setattr(mutant_runner, "COPIED", ("vla_agent", "tests", "benchmarks"))
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
    assert "raise" in SOURCE.splitlines()[15] and "return value" in SOURCE.splitlines()[20]
    at = {n: covering_tests(lines, SOURCE, MODULE, n) for n in (5, 15, 16, 20)}
    assert at == {5: ["one", "two", "three"], 15: ["one", "two"], 16: ["one"], 20: ["three"]}


def job(change: tuple[str, str]) -> Job:
    old, new = change
    assert SOURCE.count(old) == 1
    line = SOURCE[: SOURCE.index(old)].count("\n") + 1
    return Job(Mutation(MODULE, "by hand", 0, line, 0), SOURCE, SOURCE.replace(old, new), ("tests/test_limits.py",))


def test_tests_that_notice_kill_and_others_do_not(checkout, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(mutant_runner, "SPARE", 6.0)
    jobs = {
        "killed": job(("value > most", "value >= most")),
        "by dying": job(("    check(value)\n", "    __import__('os').abort()\n")),
        "not imported": job(("MOST = 3", "MOST = nothing")),
        "timeout": job(("    check(value)\n", "    while True: pass\n")),
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
        "timeout": "timeout",
        "survived": "survived",
    }
    assert outcomes[id(jobs["killed"])].killer == "tests/test_limits.py::test_at_the_limit_and_beyond"
    assert (checkout / MODULE).read_text() == SOURCE, "the checkout itself is never changed"
    runner.check_tests(jobs.values())


def test_the_lists_of_modules_and_of_equivalent_mutants_are_those_of_this_checkout():
    modules = {}
    for group in read_groups().values():
        modules |= guarded_modules(ROOT, group)
    assert len(modules) > 50 and all((ROOT / test).is_file() for tests in modules.values() for test in tests)
    for equivalent in read_equivalents().values():
        lines = [line.strip() for line in (ROOT / equivalent.module).read_text(encoding="utf-8").splitlines()]
        assert equivalent.line in lines and equivalent.line != equivalent.mutant and equivalent.why
