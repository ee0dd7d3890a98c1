"""Every mistake of the list ends in a typed error that says what to do; nothing is overwritten or left behind."""

from __future__ import annotations

import pytest

from benchmarks.inputs.badinput.case import Case, judge
from benchmarks.inputs.badinput.cases import CASES
from benchmarks.inputs.badinput.good_inputs import Good
from vla_agent.errors import OptionError, TaskError


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Good:
    return Good(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input(case: Case, good: Good, tmp_path):
    answer = judge(case, tmp_path / "place", good, own_process=False)
    assert answer.passed, f"{'; '.join(answer.faults)}\n{answer.message}"


def test_names_differ():
    assert len({case.name for case in CASES}) == len(CASES) >= 25


def test_the_judge_finds_what_is_wrong(tmp_path, good):
    """Each fault that the judge knows is found in a program that has it."""

    def overwrites():
        (tmp_path / "a/kept").write_text("lost")
        (tmp_path / "a/half").write_text("written")
        raise TaskError("wrong")

    def mistake(place, good):
        (place / "kept").write_text("precious")
        return overwrites

    answer = judge(Case("bad program", mistake, OptionError, ("--option",)), tmp_path / "a", good, own_process=False)
    faults = "; ".join(answer.faults)
    for fault in (
        "is a TaskError",
        "lacks '--option'",
        "neither file nor key",
        "lacks 'expected:'",
        "lacks 'remedy:'",
    ):
        assert fault in faults
    assert "kept was changed" in faults and "half was left behind" in faults
    silent = judge(Case("silent", lambda p, g: lambda: None, OptionError, ()), tmp_path / "b", good, own_process=False)
    assert "nothing was raised" in silent.faults
    crash = judge(Case("crash", lambda p, g: [].pop, OptionError, ()), tmp_path / "c", good, own_process=False)
    assert "IndexError is not a typed error" in crash.faults
    works = judge(Case("fine", lambda p, g: ["--version"], OptionError, ()), tmp_path / "d", good, own_process=False)
    assert "exit code 0, not 2" in works.faults
