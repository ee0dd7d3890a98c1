"""The gate's statistics against brute force, known values and their own promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vla_agent.evaluation.exact_tests import alpha_spent, clopper_pearson, holm, mcnemar
from vla_agent.gate.decision.sequential_test import Decision, design, fixed_size


@pytest.mark.parametrize(
    "threshold, margin, alpha, beta", [(0.5, 0.3, 0.025, 0.05), (0.8, 0.15, 0.05, 0.1), (0.1, 0.6, 0.1, 0.1)]
)
def test_the_exact_error_rates_keep_their_promises(threshold, margin, alpha, beta):
    test = design(threshold, margin, alpha, beta)
    assert test.characteristic(threshold)[0] <= alpha
    assert test.characteristic(threshold / 2)[0] <= test.characteristic(threshold)[0]
    assert test.characteristic(threshold + margin)[0] >= 1 - beta
    for p in (threshold / 2, threshold + margin):
        passing, failing, _ = test.stops(p)
        assert passing.sum() + failing.sum() == pytest.approx(1)
        assert test.characteristic(p)[1] < fixed_size(threshold, margin, alpha, beta)[0]


def test_the_recursion_agrees_with_every_sequence_of_outcomes():
    test = design(0.1, 0.7, 0.1, 0.1)
    p = 0.4
    passing = mean = 0.0
    for outcomes in product((False, True), repeat=test.size):
        weight = np.prod([p if o else 1 - p for o in outcomes])
        decision = test.decide(outcomes)
        passing += weight * (decision.verdict == "pass")
        mean += weight * decision.n
    assert test.size <= 12
    assert test.characteristic(p) == pytest.approx((passing, mean))


def test_the_interval_after_a_stop_covers_as_often_as_it_says():
    test = design(0.3, 0.6, 0.1, 0.1)
    for p in (0.2, 0.55, 0.85):
        rng = np.random.default_rng(0)
        covered = 0
        intervals: dict[Decision, tuple[float, float]] = {}
        for _ in range(400):
            decision = test.decide(rng.random(test.size) < p)
            if decision not in intervals:
                intervals[decision] = test.interval(decision)
            low, high = intervals[decision]
            covered += low <= p <= high
        assert covered / 400 >= 0.93


def test_it_stops_early_both_ways_and_always_ends():
    test = design(0.5, 0.3, 0.025, 0.05)
    good, bad = test.decide([True] * 200), test.decide([False] * 200)
    assert good.verdict == "pass" and good.n < test.size / 3
    assert bad.verdict == "fail" and bad.n < test.size / 3
    assert test.decide([True, False] * 200).verdict == "fail"
    assert test.decide([True, False]).verdict is None


def test_known_values():
    assert mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar(0, 0) == 1.0
    assert clopper_pearson(0, 10)[1] == pytest.approx(1 - 0.025 ** (1 / 10))
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert sum(alpha_spent(0.05, i) for i in range(1, 10_000)) <= 0.05
