"""The sequential comparison: its error over all looks is exact, it stops early, and it says what is still needed."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from vla_agent.cli import main
from vla_agent.errors import OptionError
from vla_agent.evaluation.sequential.compare_sequential import (
    SequentialSettings,
    compare_sequential,
    in_order,
    in_reports,
    read_pairs,
    sentence,
)
from vla_agent.evaluation.sequential.sequential_pairs import SequentialPairs, forecast

SETTINGS = SequentialSettings()


def run(outcomes, most, alpha=0.05):
    """The test after these pairs of outcomes, or where it stopped."""
    test = SequentialPairs(most, alpha)
    for first, second in outcomes:
        if test.add(np.array([first]), np.array([second]))[0]:
            break
    return test


@pytest.mark.parametrize("alpha", [0.05, 0.3])
@pytest.mark.parametrize("pattern", [(1,) * 12, (1, 0, 0) * 4, (0,) * 6 + (1,) * 6])
def test_the_error_over_all_looks_is_at_most_alpha_whatever_the_pairs_without_a_winner(pattern, alpha):
    """Every way in which fair coins can fall, for places of winners that are given."""
    signs = np.array(list(itertools.product((0, 1), repeat=sum(pattern))), bool)
    test, place = SequentialPairs(len(pattern), alpha, len(signs)), 0
    for won in pattern:
        first = signs[:, place] if won else np.ones(len(signs), bool)
        test.add(first, ~first if won else first)
        place += won
    wrong = [np.mean(test.verdict == side) for side in (1, -1)]
    assert wrong[0] == wrong[1] <= alpha / 2
    assert alpha == 0.05 or sum(wrong) > 0.1  # it does not keep its promise by never stopping


def test_the_verdict_is_that_of_the_mirrored_outcomes_and_stays():
    rng = np.random.default_rng(3)
    first, second = rng.random((60, 200)) < 0.8, rng.random((60, 200)) < 0.5
    one, other = SequentialPairs(60, 0.05, 200), SequentialPairs(60, 0.05, 200)
    before = one.verdict.copy()
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(one.add(a, b), -other.add(b, a))
        assert np.all((before == 0) | (one.verdict == before))
        before = one.verdict.copy()
    assert np.mean(one.verdict == 1) > 0.75 and np.mean(one.verdict == -1) == 0
    assert np.mean(one.stopped[one.verdict == 1]) < 45


def test_pairs_without_a_winner_decide_nothing():
    assert run([(1, 1), (0, 0)] * 50, 100).verdict[0] == 0


def test_a_clear_difference_stops_long_before_the_most():
    test = run([(1, 0)] * 100, 100)
    assert test.verdict[0] == 1 and test.n == test.stopped[0] < 15


def test_the_forecast_is_short_for_a_clear_difference_and_hopeless_for_none():
    clear, equal = run([(1, 0), (1, 1), (1, 0), (1, 1)], 200), run([(1, 0), (0, 1), (1, 1), (0, 0)] * 45, 200)
    assert clear.verdict[0] == equal.verdict[0] == 0
    near, far = forecast(clear), forecast(equal)
    assert near["chance"] > 0.95 and near["pairs"] < 40
    assert far["chance"] < 0.1
    assert forecast(clear) == near  # the same each time


def report(folder, outcomes, **changed):
    rows = [{"task": task, "instruction": "", "seed": k, "success": bool(o[place]), "steps": 1, "failure": None,
             "control": "policy", "state_hash": "", "image_hash": ""}
            for place, task in enumerate(("stack", "press_button")) for k, o in enumerate(outcomes)]  # fmt: skip
    data = {"policy": folder.name, "suite": "tabletop", "split": "seen", "versions": {}, "summary": {"settings": {}},
            "hashes": {"tasks": {}, "simulator": "s"}, "episodes": rows}  # fmt: skip
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(data | changed))
    return folder


def test_reports_are_read_seed_by_seed_and_no_further_than_the_verdict(tmp_path):
    good, bad = report(tmp_path / "good", [(1, 1)] * 30), report(tmp_path / "bad", [(0, 0)] * 30)
    pairs, names = read_pairs(good, bad)
    assert [(p[0], p[1]) for p in pairs[:3]] == [("stack", 0), ("press_button", 0), ("stack", 1)]
    result = compare_sequential(pairs, names, len(pairs), SETTINGS)
    assert result["verdict"] == "better" and result["row"]["n"] < 12 and result["more"] is None
    assert "BETTER" in sentence(result)
    assert compare_sequential(*read_pairs(bad, good), len(pairs), SETTINGS)["verdict"] == "worse"


def test_open_and_ended_comparisons_say_what_is_needed(tmp_path):
    one, two = report(tmp_path / "one", [(1, 0), (1, 1)] * 8), report(tmp_path / "two", [(1, 0), (0, 1)] * 8)
    pairs, names = read_pairs(one, two)
    still = compare_sequential(pairs[:8], names, 100, SETTINGS)
    assert not still["ended"] and still["more"]["pairs"] > 0 and "more pairs decide it" in sentence(still)
    over = compare_sequential(pairs[:8], names, 8, SETTINGS)
    assert over["ended"] and over["verdict"] == "not shown" and "About" in sentence(over)


def test_what_cannot_be_compared_is_refused(tmp_path):
    one, gate = report(tmp_path / "one", [(1, 0)]), report(tmp_path / "gate", [(1, 0)], gate={})
    with pytest.raises(OptionError, match="impossible value"):
        read_pairs(one, gate)
    with pytest.raises(OptionError):
        in_reports(str(one), "expert")
    assert in_reports(str(one), str(gate)) and not in_reports("expert", "random")
    for wrong in (SequentialSettings(most=0), SequentialSettings(alpha=1.0), SequentialSettings(smallest=0.0)):
        with pytest.raises(OptionError):
            wrong.require()
    assert main(["compare", str(one), str(one), "--most", "5"]) == 2


def test_the_command_plays_two_policies_until_one_is_better(tmp_path, capsys):
    arguments = ["compare", "expert", "random", "--sequential", "--most", "6", "--block", "3", "--tasks",
                 "press_button", "--seed", "5400000", "--alpha", "0.8", "-o", str(tmp_path)]  # fmt: skip
    assert main([*arguments, "--json", "--require-better"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["verdict"] == "better" and result["row"]["n"] == 3
    played = json.loads((tmp_path / "pairs.json").read_text())["pairs"]
    assert len(played) == 3  # one block, and nothing ahead
    assert main([*arguments]) == 2  # the folder is not written over
    assert main([*arguments, "--seed", "5400001", "--resume"]) == 2
    assert "another comparison" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result


def test_the_order_is_by_place_among_a_tasks_seeds():
    pairs = [("b", 9, 1, 1), ("b", 2, 1, 1), ("a", 5, 0, 1)]
    assert [p[:2] for p in in_order(pairs)] == [("b", 2), ("a", 5), ("b", 9)]
