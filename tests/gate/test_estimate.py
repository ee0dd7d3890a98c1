"""The headline's estimate: families balanced, all unperturbed episodes, an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest

from vla_agent.evaluation.exact_tests import clopper_pearson
from vla_agent.gate.decision.estimate import effective_size, estimate, families_of, stratified
from vla_agent.gate.decision.gate_file import load_gate


def episodes(task, k, n, control="control"):
    return [{"control": control, "task": task, "success": i < k, "outcome": True, "index": i} for i in range(n)]


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    file = tmp_path_factory.mktemp("gate") / "gate.yaml"
    file.write_text(
        "format: 2\nname: two\ntasks: [stack, press_button]\nchecks:\n  success: {threshold: 0.5, margin: 0.2}\n"
        "  family: {threshold: null}\n  language:\n    - {probe: swap, threshold: 0.3, margin: 0.3}\n"
    )
    return load_gate(file)


def test_all_unperturbed_episodes_count_and_no_others(gate):
    rows = [*episodes("stack", 3, 4), *episodes("press_button", 1, 1), *episodes("stack", 9, 9, "axis.camera.1")]
    families = families_of(gate, rows)
    assert {name: (f["k"], f["n"], f["rate"]) for name, f in families.items()} == {
        "stack": (3, 4, 0.75),
        "press_button": (1, 1, 1.0),
    }
    assert families["stack"]["interval"] == list(clopper_pearson(3, 4))


def test_families_have_the_same_weight_whatever_their_numbers(gate):
    rows = [*episodes("stack", 2, 4), *episodes("press_button", 40, 40)]
    found = estimate(families_of(gate, rows))
    assert found["rate"] == 0.75, "not 42 of 44"
    assert found["worst_family"] == {"name": "stack", "k": 2, "n": 4, "interval": list(clopper_pearson(2, 4))}
    low, high = found["interval"]
    assert low < 0.75 < high


def test_of_equally_bad_families_the_first_by_name_is_the_worst(gate):
    rows = [*episodes("stack", 1, 2), *episodes("press_button", 2, 4)]
    assert estimate(families_of(gate, rows))["worst_family"]["name"] == "press_button"


def test_nothing_is_claimed_where_a_family_was_not_played(gate):
    found = estimate(families_of(gate, episodes("stack", 2, 2)))
    assert found["rate"] is None and found["interval"] == [0.0, 1.0] and found["worst_family"]["name"] == "stack"
    assert estimate(families_of(gate, [])) == {"rate": None, "interval": [0.0, 1.0], "worst_family": None}
    assert stratified([]) == (None, (0.0, 1.0))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20)])
def test_one_family_that_always_or_never_succeeds_has_the_exact_interval(k, n):
    rate, interval = stratified([(k, n)])
    assert rate == k / n and interval == pytest.approx(clopper_pearson(k, n))


def test_equal_families_have_the_interval_of_all_their_episodes_together():
    assert stratified([(20, 20)] * 10)[1] == pytest.approx(clopper_pearson(200, 200))
    low, high = stratified([(10, 20)] * 10)[1]
    exact = clopper_pearson(100, 200)
    assert low == pytest.approx(exact[0], abs=0.004) and high == pytest.approx(exact[1], abs=0.004)


def test_a_level_is_a_level():
    narrow, wide = (stratified([(10, 20)] * 4, level)[1] for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert stratified([(20, 20)], 0.9)[1][0] == pytest.approx(0.05 ** (1 / 20))


def test_few_episodes_in_one_family_widen_the_interval():
    assert effective_size([(20, 20)] * 10) == pytest.approx(200)
    assert effective_size([(20, 20)] * 9 + [(4, 4)]) <= 100 / (9 / 20 + 1 / 4)
    assert effective_size([(10, 20)] * 9 + [(2, 4)]) == pytest.approx(100 / (9 / 20 + 1 / 4))
    balanced, not_balanced = ([(18, 20)] * 9 + [(n // 2, n)] for n in (40, 4))
    assert effective_size(not_balanced) < 0.6 * effective_size(balanced)
    (low, _), (other, _) = stratified(balanced)[1], stratified(not_balanced)[1]
    assert other < low


def test_a_family_of_middling_success_counts_with_its_own_variance():
    """Of equal numbers, one family at 50 % among perfect ones varies more than all at 95 % would, not less."""
    few = [(60, 60)] * 9 + [(2, 4)]
    assert effective_size(few) < 100 / (9 / 60 + 1 / 4)


@pytest.mark.parametrize("rates", [[0.98] * 9 + [0.6], [0.5, 0.6, 0.7, 0.8, 0.9], [0.02, 0.5], [1.0] * 5])
def test_the_interval_covers_as_often_as_it_says(rates):
    rng = np.random.default_rng(0)
    sizes = rng.integers(8, 40, len(rates))
    covered = 0
    for _ in range(300):
        low, high = stratified([(int(rng.binomial(n, p)), int(n)) for n, p in zip(sizes, rates, strict=True)])[1]
        covered += low <= np.mean(rates) <= high
    assert covered >= 0.93 * 300


def test_the_interval_is_not_needlessly_wide():
    """Twice the standard deviation of the mean on each side, and little more."""
    rates, n = [0.5, 0.6, 0.7, 0.8, 0.9] * 2, 30
    deviation = np.sqrt(sum(p * (1 - p) / n for p in rates)) / len(rates)
    low, high = stratified([(round(n * p), n) for p in rates])[1]
    assert high - low < 1.35 * 2 * 1.96 * deviation


def test_a_small_family_of_an_uncertain_rate_counts_with_its_own_variance():
    """By hand: rates 5.5/11 and 100.5/101, so 0.188731 / ((0.25/10 + 0.0049260/100) / 4), below 4 / (1/10 + 1/100)."""
    assert effective_size([(5, 10), (100, 100)]) == pytest.approx(30.138, abs=0.005)
