"""The benchmarks of inputs: what the fuzzer sees, that its cases repeat, and a few seconds of each, seeded."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.inputs import inputs_agree, inputs_cases
from benchmarks.inputs.cases.asked import Asked, Wrong, equal, wrong_with
from benchmarks.inputs.fuzz import data_targets, harness, message_targets
from benchmarks.inputs.fuzz.harness import play
from benchmarks.inputs.fuzz.mutations import WRONG, changed_bytes, changed_tree
from benchmarks.inputs.fuzz.target import Target, nothing
from vla_agent.errors import DatasetError

WHOLE = {"key": "k", "expected": "a", "found": "b", "remedy": "c"}


def answers(read, cases=1, **options):
    target = Target("t", nothing, lambda folder, rng: read(folder), **options)
    return [(case.answer, case.text) for case in play([target], 0, 60.0, last=cases)]


def refuse(folder, **parts):
    raise DatasetError("no", **(WHOLE | parts))


def fail(folder):
    raise KeyError("x")


def write(path, folder):
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "made").write_text("x")


@pytest.mark.parametrize(
    "read, answer, text",
    [
        (refuse, "refused", "no"),
        (partial(refuse, remedy=None), "fault", "without remedy"),
        (partial(refuse, key=None), "fault", "without file or key"),
        (fail, "fault", "KeyError"),
        (lambda folder: None, "read", ""),
        (partial(write, "out"), "read", ""),
        (partial(write, "out-cache"), "fault", "outside of the output"),
        (partial(write, ".."), "fault", "outside of the output"),
        (partial(write, "../../../.."), "fault", "outside of the output"),
        (lambda folder: os._exit(3), "fault", "the process ended by 768"),
    ],
)
def test_the_fuzzer_sees_errors_writes_and_ends(read, answer, text):
    found = answers(read)
    assert [a for a, _ in found] == [answer] and text in found[0][1]


def test_the_fuzzer_sees_what_is_written_far_away(tmp_path):
    text = answers(partial(write, tmp_path))[0][1]
    assert "outside of the output" in text and str(tmp_path) in text


def test_the_fuzzer_sees_memory_and_hangs(monkeypatch):
    monkeypatch.setattr(harness, "MEMORY", 2**25)
    monkeypatch.setattr(harness, "ASLEEP", 0.3)
    assert "GiB" in answers(lambda folder: bytearray(2**26)[::4096] + b"x")[0][1]
    assert "no answer within" in answers(lambda folder: time.sleep(30))[0][1]


def test_after_a_fault_the_next_cases_are_played():
    def read(folder, rng):
        if rng.random() < 0.5:
            os._exit(1)

    found = list(play([Target("t", nothing, read)], 0, 60.0, last=8))
    assert [case.number for case in found] == list(range(8)) and {case.answer for case in found} == {"fault", "read"}


def test_changes_repeat_and_change_something():
    data, tree = bytes(range(100)), {"a": [1, {"b": 2}], "c": "d"}
    changed = [changed_bytes(data, np.random.default_rng(k)) for k in range(50)]
    assert changed == [changed_bytes(data, np.random.default_rng(k)) for k in range(50)]
    assert sum(one != data for one in changed) > 40 and data == bytes(range(100))
    trees = [repr(changed_tree(tree, np.random.default_rng(k))) for k in range(50)]
    assert len(set(trees)) > 25 and tree == {"a": [1, {"b": 2}], "c": "d"} and len(WRONG) > 30


@pytest.mark.parametrize("kind, seed, last", [("messages", 1, 60), ("data", 3, 21)])
def test_some_seconds_of_fuzzing(kind, seed, last):
    """The same targets as of the benchmark; those that need torch or a live server are left to it."""
    made = {"messages": message_targets.targets, "data": data_targets.targets}[kind]()
    targets = [target for target in made if "live server" not in target.name]
    found = list(play(targets, seed, 20.0, last=last))
    assert found and [case for case in found if case.answer == "fault"] == []


def test_a_case_is_right_wrong_or_refused_in_full(tmp_path):
    def wrong(folder):
        equal("x", [1, 2], [1, 3])

    asked = {
        "right": (lambda folder: equal("x", np.ones(3), [1, 1, 1]), None, ""),
        "wrong": (wrong, None, "x: [1, 2], right: [1, 3]"),
        "untyped": (fail, None, "KeyError"),
        "refused": (refuse, ("expected",), ""),
        "without a word": (refuse, ("elbow",), "lacks ['elbow']"),
        "read": (lambda folder: None, (), "has to be refused"),
        "not to be refused": (refuse, None, "refused: no"),
    }
    for name, (ask, refused, text) in asked.items():
        found = wrong_with(Asked("kind", name, ask, refused), tmp_path / name)
        assert (text in found) if text else found == ""
    with pytest.raises(Wrong):
        equal("x", ["a"], ["b"])


@pytest.mark.parametrize("words", ["bgra8, 8", "16UC1, ", "ragged", "evil"])
def test_some_cases(words):
    found = list(inputs_cases.answered(words))
    assert found and [row for row in found if row[2]] == []


def test_some_datasets_are_judged_alike():
    found = list(inputs_agree.judgements(range(8), planted=False))
    assert len(found) == 8 and all(alike for *_, alike in found)
