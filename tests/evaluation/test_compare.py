"""Two reports on the same seeds: the paired verdict, what would settle it, and what is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from vla_agent.cli import main
from vla_agent.errors import OptionError, ReportError
from vla_agent.evaluation.compare_reports import compare
from vla_agent.evaluation.exact_tests import mcnemar, mcnemar_power, pairs_to_settle
from vla_agent.evaluation.result_store import read_report
from vla_agent.files.input_limits import REPORT_BYTES


def write(folder, successes, seed=0, tasks=("press_button", "stack"), gate=False, **changed):
    """A report with ``successes[i]`` for episode i, its families in turn."""
    rows = [
        {
            "task": tasks[i % len(tasks)],
            "instruction": "",
            "seed": seed + i // len(tasks),
            "success": bool(s),
            "steps": 1,
            "failure": None,
            "control": "control" if gate else "policy",
            "state_hash": "",
            "image_hash": "",
        }
        for i, s in enumerate(successes)
    ]
    if gate:
        probes = [r | {"control": "probe.blind", "success": False, "outcome": True} for r in rows[:4]]
        rows = [r | {"outcome": r["success"]} for r in rows] + probes
    report = {
        "policy": folder.name,
        "suite": "tabletop",
        "split": "seen",
        "versions": {"mujoco": "3"},
        "hashes": {"tasks": dict.fromkeys(tasks, "x"), "simulator": "s"},
        "episodes": rows,
        "summary": {"settings": {}},
    }
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report | ({"gate": {}} if gate else {}) | changed))
    return folder


def test_a_clear_difference_is_shown_both_ways_and_is_settled(tmp_path):
    good = write(tmp_path / "good", [1] * 40)
    bad = write(tmp_path / "bad", [0] * 10 + [1] * 30)
    found = compare(good, bad)
    assert found["verdict"] == "better" and found["settle"] is None
    assert found["overall"]["only_first"] == 10 and found["overall"]["only_second"] == 0
    assert found["overall"]["p"] == mcnemar(10, 0) and found["overall"]["interval"][0] > 0
    assert {f["n"] for f in found["families"].values()} == {20}
    assert compare(bad, good)["verdict"] == "worse"


def test_an_open_difference_says_what_would_settle_it(tmp_path):
    rng = np.random.default_rng(0)
    first = write(tmp_path / "a", rng.random(60) < 0.8)
    second = write(tmp_path / "b", rng.random(60) < 0.75)
    found = compare(first, second)
    assert found["verdict"] == "not shown" and found["settle"]["pairs"] > 60
    same = compare(first, first)
    assert same["verdict"] == "not shown" and same["overall"]["difference"] == 0
    assert same["settle"]["difference"] == 0.05  # of the size that matters, not of the size that was seen
    assert same["settle"]["pairs"] < found["settle"]["pairs"]  # none discordant: little noise


def test_only_what_both_played_is_paired_and_gates_say_so(tmp_path):
    first = write(tmp_path / "a", [1] * 30, gate=True)
    second = write(tmp_path / "b", [1] * 20, seed=5, gate=True)
    found = compare(first, second)
    assert found["overall"]["n"] == 20 and any("gate" in note for note in found["notes"])
    assert found["conditions"] == {}
    again = compare(first, write(tmp_path / "c", [0] * 30, gate=True))
    assert again["conditions"]["probe.blind"]["first_k"] == again["conditions"]["probe.blind"]["n"] == 4
    assert compare(first, write(tmp_path / "d", [0] * 30))["verdict"] == "better"  # a gate beside an evaluation


def test_other_episodes_are_refused_with_what_differs(tmp_path):
    first = write(tmp_path / "a", [1] * 8)
    for name, key, changed in (
        ("split", "split", {"split": "objects"}),
        ("mujoco", "versions.mujoco", {"versions": {"mujoco": "4"}}),
        ("sim", "hashes.simulator", {"hashes": {"tasks": {}, "simulator": "t"}}),
        ("task", "hashes.tasks.stack", {"hashes": {"tasks": {"stack": "y"}, "simulator": "s"}}),
        ("seeds", "episodes", {"seed": 100}),
    ):
        with pytest.raises(ReportError) as error:
            compare(first, write(tmp_path / name, [1] * 8, **changed))
        assert error.value.key == key and error.value.remedy and name in str(error.value.file)
    with pytest.raises(OptionError, match="alpha"):
        compare(first, first, alpha=0)


def test_the_power_is_that_of_the_exact_test():
    rng = np.random.default_rng(1)
    n, chances = 50, (0.3, 0.1)
    draws = rng.multinomial(n, [*chances, 0.6], size=400)
    shown = np.mean([mcnemar(a, b) <= 0.05 and a > b for a, b, _ in draws])
    assert mcnemar_power(n, *chances, 0.05) == pytest.approx(shown, abs=0.07)
    assert mcnemar_power(0, *chances, 0.05) == mcnemar_power(5, *chances, 0.05) == 0


def test_as_many_pairs_as_named_settle_it_four_times_in_five():
    n, difference = pairs_to_settle(100, 15, 9, smallest=0.05)
    assert difference == pytest.approx(0.06)
    assert mcnemar_power(n, 0.15, 0.09, 0.05) >= 0.8 > mcnemar_power(n - 1, 0.15, 0.09, 0.05)
    assert pairs_to_settle(100, 30, 10, smallest=0.05)[0] < 100  # enough for most samples of such a difference
    assert pairs_to_settle(10, 0, 0, smallest=0.1)[1] == 0.1


def test_the_command_prints_the_verdict_and_its_exit_code_is_for_ci(tmp_path, capsys):
    good, bad = write(tmp_path / "good", [1] * 40), write(tmp_path / "bad", [0] * 10 + [1] * 30)
    assert main(["compare", str(good), str(bad), "--require-better"]) == 0
    assert "BETTER" in capsys.readouterr().out
    assert main(["compare", str(bad), str(good), "--require-better"]) == 1
    assert main(["compare", str(good / "report.json"), str(good), "--json"]) == 0
    capsys.readouterr()
    assert main(["compare", str(good), str(good)]) == 0
    assert "pairs on new seeds would show" in capsys.readouterr().out
    assert main(["compare", str(good), str(tmp_path / "none")]) == 2


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (os.mkfifo, "kind"),
        (lambda file: file.write_bytes(b"[" * 200_000), "depth"),
        (lambda file: file.write_bytes(b"[" + b"[]," * 600_000 + b"[]]"), "maps and lists"),
        (lambda file: (file.touch(), os.truncate(file, REPORT_BYTES + 1)), "size"),
    ],
)
def test_a_report_that_would_take_all_memory_or_time_is_refused(tmp_path, make, key):
    make(tmp_path / "report.json")
    with pytest.raises(ReportError) as error:
        read_report(tmp_path / "report.json")
    assert error.value.key == key


@pytest.mark.parametrize("key", ["versions", "hashes", "episodes", "summary"])
def test_a_report_whose_parts_are_of_another_kind_is_refused(tmp_path, key):
    folder = write(tmp_path / "a", [True, False])
    read_report(folder / "report.json")
    changed = json.loads((folder / "report.json").read_text()) | {key: 5}
    (folder / "report.json").write_text(json.dumps(changed))
    with pytest.raises(ReportError) as error:
        read_report(folder / "report.json")
    assert error.value.key == key
