"""The cases of real robots: how they are judged, and that a part of them is right."""

from __future__ import annotations

import pytest

from benchmarks.robots.cases import name_cases, sensor_cases
from benchmarks.robots.cases.case import Case, judged, refused, told
from vla_agent.errors import RobotError

FEW = [case for case in name_cases.CASES if case.kind in (name_cases.NUMBERS, name_cases.PARAMETERS)]
FEW += [case for case in sensor_cases.CASES if case.kind in (sensor_cases.ORDER, sensor_cases.DEPTH)]


def wrong(*_: object) -> None:
    raise RobotError("the robot file is wrong", key="joint", found="joints")


def test_a_refusal_is_right_where_it_says_all_and_what_is_taken_is_wrong():
    assert refused(wrong, "robot file", "joints") == ""
    assert refused(wrong, "joints", "did you mean").startswith("not said: did you mean")
    assert refused(lambda: None) == "it is taken"


def test_an_exception_that_a_case_does_not_expect_is_wrong(tmp_path):
    assert judged(Case("kind", "name", wrong), tmp_path / "new").startswith("RobotError: the robot file is wrong")
    assert judged(Case("kind", "name", lambda folder: "" if folder.is_dir() else "no folder"), tmp_path / "new") == ""


def test_a_command_is_judged_by_its_exit_code_and_by_what_it_says():
    assert told(["up", "smi"], 2, "did you mean 'sim'?") == ""
    assert told(["up", "smi"], 0).startswith("exit code 2")
    assert "not said: no such word" in told(["up", "smi"], 2, "no such word")


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_names_numbers_joints_and_depth_end_as_they_should(case, tmp_path):
    assert judged(case, tmp_path) == ""
