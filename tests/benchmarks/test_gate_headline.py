"""The simulated gates of gate-headline: drawn as they should be, and counted right."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate import gate_headline
from vla_agent.evaluation.exact_tests import alpha_spent
from vla_agent.gate.decision.gate_file import load_gate
from vla_agent.gate.decision.plan import Planner, sequential_tests


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("gate") / "gate.yaml"
    file.write_text(
        "format: 2\nname: two\ntasks: [stack, press_button]\nestimated: 150\nreported: 150\nchecks:\n"
        "  success: {threshold: 0.2, margin: 0.2}\n  family: {threshold: null}\n  axes:\n"
        "    - {axis: typo, severity: 1, threshold: null}\n"
        "  language:\n    - {probe: swap, threshold: 0.3, margin: 0.3}\n    - {probe: removed, threshold: null}\n"
    )
    gate = load_gate(file)
    planner = Planner(gate, sequential_tests(gate, alpha_spent(gate.alpha, 1)), 2**32)
    rates = {"stack": 0.9, "press_button": 0.4}
    return list(gate_headline.play(planner, rates, np.random.default_rng(0)).values())


def rate(rows, control, task):
    return np.mean([r["outcome"] for r in rows if (r["control"], r["task"]) == (control, task)])


def test_outcomes_have_the_rates_of_the_design(rows):
    assert rate(rows, "control", "stack") == pytest.approx(0.9, abs=0.08)
    assert rate(rows, "control", "press_button") == pytest.approx(0.4, abs=0.12)
    assert rate(rows, "axis.typo.1", "stack") == pytest.approx(0.9 - gate_headline.LOSS, abs=0.12)
    assert rate(rows, "probe.removed", "stack") == pytest.approx(0.6, abs=0.15)


def test_conditions_on_one_scene_share_their_luck(rows):
    control = {(r["task"], r["seed"]): r["outcome"] for r in rows if r["control"] == "control"}
    pairs = [(control[r["task"], r["seed"]], r["outcome"]) for r in rows if r["control"] == "axis.typo.1"
             and r["task"] == "press_button"]  # fmt: skip
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.08, "0.25 is expected"


def test_coverage_and_bias_are_those_of_the_intervals(monkeypatch):
    monkeypatch.setitem(gate_headline.DESIGNS, "half", [0.5] * 10)
    found = gate_headline._row("half", [[(0.5, 0.4, 0.6, 100), (0.7, 0.6, 0.8, 120)], [(0.3, 0.2, 0.5, 140)]])
    assert (found["gates"], found["covered"], found["truth"]) == (3, 2, 0.5)
    assert found["bias"] == pytest.approx(0.0) and found["unperturbed"] == 120.0
    assert (found["above"], found["below"]) == (pytest.approx(1 / 3), 0.0)
