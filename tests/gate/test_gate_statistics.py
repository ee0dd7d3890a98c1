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
        passing, failing, last = test.stops(p)
        assert passing.sum() + failing.sum() == pytest.approx(1)
        assert passing.shape == failing.shape == last.shape == (test.size + 1,) and passing[0] == failing[0] == 0
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


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_s_ends_leave_half_of_the_error_on_each_side(level):
    """Exactly, at every way to stop: an early and a late pass, an early and a late fail, and the cut-off."""
    test = design(0.3, 0.4, 0.1, 0.1)
    rng = np.random.default_rng(0)
    decisions = {test.decide(rng.random(test.size) < p) for p in (0.2, 0.5, 0.8) for _ in range(60)}
    assert {d.verdict for d in decisions} == {"pass", "fail"} and test.size in {d.n for d in decisions}
    for decision in decisions:
        low, high = test.interval(decision, level)
        tail = (1 - level) / 2
        assert 0 <= low < decision.k / decision.n + 0.2 and low < high <= 1
        if decision.k:
            assert test.tails(decision, low)[0] == pytest.approx(tail, abs=1e-4)
        else:
            assert low == 0.0
        if decision.k < decision.n:
            assert test.tails(decision, high)[1] == pytest.approx(tail, abs=1e-4)
        else:
            assert high == 1.0


def test_the_stated_interval_is_one_of_95_per_cent():
    test = design(0.5, 0.3, 0.025, 0.05)
    for outcomes in ([True] * 200, [False] * 200):
        decision = test.decide(outcomes)
        assert test.interval(decision) == test.interval(decision, 0.95) != test.interval(decision, 0.9)
    assert test.interval(test.decide([True, False])) == clopper_pearson(1, 2)


def test_both_tails_together_are_one_and_the_outcome_itself():
    """Brute force over all sequences of a small test."""
    test = design(0.1, 0.7, 0.1, 0.1)
    p = 0.4
    weights: dict[Decision, float] = {}
    for outcomes in product((False, True), repeat=test.size):
        decision = test.decide(outcomes)
        weights[decision] = weights.get(decision, 0.0) + float(np.prod([p if o else 1 - p for o in outcomes]))

    def place(d):
        """The stage-wise order: early fails, late fails, the cut-off by its count, late passes, early passes."""
        if d.n == test.size:
            return (1, d.k)
        return (2, -d.n) if d.verdict == "pass" else (0, d.n)

    for decision in weights:
        high, low = test.tails(decision, p)
        assert high == pytest.approx(sum(w for d, w in weights.items() if place(d) >= place(decision)))
        assert low == pytest.approx(sum(w for d, w in weights.items() if place(d) <= place(decision)))


def test_it_stops_early_both_ways_and_always_ends():
    test = design(0.5, 0.3, 0.025, 0.05)
    good, bad = test.decide([True] * 200), test.decide([False] * 200)
    assert good.verdict == "pass" and good.n < test.size / 3
    assert bad.verdict == "fail" and bad.n < test.size / 3
    assert test.decide([True, False] * 200).verdict == "fail"
    assert test.decide([True, False]).verdict is None
    assert good == test.decide([True] * good.n) and (good.k, good.n) == (good.n, good.n), "what comes later is ignored"
    assert test.decide([True] * (good.n - 1)).verdict is None and test.decide([False] * (bad.n - 1)).verdict is None


def test_the_fixed_size_is_the_smallest_that_keeps_both_errors():
    from scipy.stats import binom

    n, c = fixed_size(0.5, 0.3, 0.05, 0.1)
    assert binom.sf(c - 1, n, 0.5) <= 0.05 < binom.sf(c - 2, n, 0.5)
    assert binom.cdf(c - 1, n, 0.8) <= 0.1
    assert fixed_size(0.1, 0.8, 0.15, 0.2) == (1, 1), "every episode may have to succeed"
    assert fixed_size(0.5, 0.45, 0.15, 0.2) == (3, 3)
    for less in range(1, n):
        least = next(c for c in range(less + 2) if binom.sf(c - 1, less, 0.5) <= 0.05)
        assert least > less or binom.cdf(least - 1, less, 0.8) > 0.1


def test_known_values():
    assert mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar(0, 0) == 1.0
    assert clopper_pearson(0, 10)[1] == pytest.approx(1 - 0.025 ** (1 / 10))
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert sum(alpha_spent(0.05, i) for i in range(1, 10_000)) <= 0.05


# Certificates name the test that they passed: it is computed again, and must be this one for ever.
DESIGNS = {
    (0.1, 0.6, 0.1, 0.1): ((9, 9, 2, 2, 3, 3, 3, 4, 0), (-1, -1, -1, 0, 0, 1, 1, 1, -1), (4, 2)),  # widened once
    (0.3, 0.6, 0.1, 0.1): ((9, 9, 9, 3, 4, 4, 5, 6, 0), (-1, -1, 0, 1, 1, 2, 3, 3, -1), (4, 3)),  # no cut kept alpha
    (0.3, 0.4, 0.05, 0.2): (
        (17, 17, 17, 17, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 8),
        (-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7),
        (10, 6),
    ),
    (0.5, 0.4, 0.1, 0.2): (
        (13, 13, 13, 13, 4, 5, 6, 7, 7, 8, 9, 10, 0),
        (-1, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, -1),
        (7, 6),
    ),
}


@pytest.mark.parametrize("rates", DESIGNS)
def test_the_boundaries_of_a_design_are_these_for_ever(rates):
    test = design(*rates)
    assert (test.upper, test.lower, fixed_size(*rates)) == DESIGNS[rates] and test.size == len(DESIGNS[rates][0]) - 1
    assert (test.threshold, test.margin, test.alpha, test.beta) == rates


@pytest.mark.parametrize(
    ("outcomes", "decision", "interval"),
    [
        ([True] * 4, Decision("pass", 4, 4), (0.39763536, 1.0)),
        ([False] * 2, Decision("fail", 0, 2), (0.0, 0.84188612)),
        ([True, False] * 8, Decision("pass", 8, 16), (0.26806549, 0.86371472)),
        ([True, True, False] * 3, Decision("pass", 6, 8), (0.31700814, 0.95521439)),
        ([True, False, False, False], Decision("fail", 1, 4), (0.01257912, 0.85820276)),
        ([False, True, True], Decision(None, 2, 3), (0.09429932, 0.99159624)),
    ],
)
def test_the_interval_after_these_outcomes_is_this_for_ever(outcomes, decision, interval):
    test = design(0.3, 0.4, 0.05, 0.2)
    assert test.decide(outcomes) == decision
    assert test.interval(decision) == pytest.approx(interval, abs=1e-8)


def test_the_chance_and_the_length_of_a_design_at_a_rate_are_these():
    assert design(0.3, 0.4, 0.05, 0.2).characteristic(0.4) == pytest.approx((0.16673076768931844, 5.96108920127488))
    assert design(0.1, 0.6, 0.1, 0.1).characteristic(0.4) == pytest.approx((0.62848, 4.16019200))
