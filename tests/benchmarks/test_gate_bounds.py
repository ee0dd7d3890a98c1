"""The benchmark of bombs sees what it has to see: memory, time, errors without a type, a bomb that is read."""

import os
import time

import pytest

from benchmarks.bounds import bounded_child, gate_bounds
from benchmarks.bounds.bounded_child import Case, Outcome, run_case
from vla_agent.errors import DatasetError

WHOLE = {"expected": "a", "found": "b", "remedy": "c"}


def outcome(folder, read, make=lambda folder: None):
    return run_case(Case("format", "bomb", make, read), folder / "case")


def refuse(folder):
    raise DatasetError("no", **WHOLE)


def refuse_in_part(folder):
    raise DatasetError("no", expected="a")


def fail(folder):
    raise KeyError("x")


@pytest.mark.parametrize(
    "read, answer",
    [
        (refuse, "refused"),
        (refuse_in_part, "an error without expected, found and remedy"),
        (fail, "KeyError instead of a typed error"),
        (lambda folder: None, "read"),
        (lambda folder: os._exit(3), "the process ended by 768"),
    ],
)
def test_what_a_reader_answers(tmp_path, read, answer):
    assert outcome(tmp_path, read).answer == answer


def test_a_bomb_that_cannot_be_made_is_no_success(tmp_path):
    assert outcome(tmp_path, refuse, make=fail).answer == "not made"


def test_memory_over_the_start_is_measured(tmp_path):
    def read(folder):
        bytearray(64 * 2**20)[::4096] = b"x" * (64 * 2**20 // 4096)
        raise DatasetError("no", **WHOLE)

    assert 60 * 2**20 < outcome(tmp_path, read).peak < 100 * 2**20
    (tmp_path / "other").mkdir()
    assert outcome(tmp_path / "other", refuse).peak < 16 * 2**20


def test_a_reader_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_child, "KILLED_AFTER", 0.3)
    assert outcome(tmp_path, lambda folder: time.sleep(20)).answer.startswith("no answer")


@pytest.mark.parametrize(
    "peak, seconds, delay, answer, fault",
    [
        (gate_bounds.MEMORY, gate_bounds.SECONDS, gate_bounds.DELAY, "refused", ""),
        (gate_bounds.MEMORY + 2**25, 0.0, 0.0, "refused", "1.03 GiB"),
        (0, gate_bounds.SECONDS + 0.1, 0.0, "refused", "5.1 s"),
        (0, 0.0, gate_bounds.DELAY + 0.01, "refused", "another client waited 0.51 s"),
        (0, 0.0, 0.0, "read", "read"),
    ],
)
def test_each_limit_and_just_over_it(peak, seconds, delay, answer, fault):
    assert gate_bounds._fault(Outcome(answer, "", peak, seconds), delay, ("refused",)) == fault
