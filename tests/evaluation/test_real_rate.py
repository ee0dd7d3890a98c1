"""The interval of the real rate: exact, mirrored, never misled, narrower where outcomes go together."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from vla_agent.errors import ReportError
from vla_agent.evaluation.bridge.bridge import worth
from vla_agent.evaluation.bridge.rank_violation import mean_maximum_rank_violation, pearson
from vla_agent.evaluation.bridge.real_rate import MOST_TRIALS, Counts, real_rate
from vla_agent.evaluation.exact_tests import clopper_pearson


@st.composite
def counts(draw):
    n1, n0 = draw(st.integers(0, 25)), draw(st.integers(0, 25))
    simulated = draw(st.integers(1, 2000))
    if n1 + n0 == 0:
        n1 = 1
    return Counts(
        draw(st.integers(0, n1)), n1, draw(st.integers(0, n0)), n0, draw(st.integers(0, simulated)), simulated
    )


@settings(max_examples=40, deadline=None)
@given(counts())
def test_the_interval_holds_its_estimate_and_is_that_of_the_mirrored_outcomes(found):
    estimate, (low, high) = real_rate(found)
    assert 0 <= low <= estimate <= high <= 1
    other, (other_low, other_high) = real_rate(found.mirrored)
    assert (other, other_low, other_high) == pytest.approx((1 - estimate, 1 - high, 1 - low))


@settings(max_examples=25, deadline=None)
@given(counts())
def test_one_more_real_success_never_lowers_a_limit(found):
    if found.k1 == found.n1:
        return
    more = Counts(found.k1 + 1, found.n1, found.k0, found.n0, found.m, found.simulated)
    before, after = real_rate(found)[1], real_rate(more)[1]
    assert after[0] >= before[0] - 1e-3 and after[1] >= before[1] - 1e-3


@pytest.mark.parametrize("q, a, b", [(0.7, 0.9, 0.3), (0.5, 0.2, 0.2), (0.9, 1.0, 0.5)])
def test_it_covers_the_real_rate_as_often_as_stated_exactly(q, a, b):
    """All outcomes of nine trials with their probabilities: nothing is drawn."""
    n1, n0, simulated = 5, 4, 20
    real, covered = q * a + (1 - q) * b, 0.0
    for k1, k0 in itertools.product(range(n1 + 1), range(n0 + 1)):
        chance = binom.pmf(k1, n1, a) * binom.pmf(k0, n0, b)
        if chance < 1e-4:
            covered += chance  # in favour: at most 1 % in all, and the statement still fails below
            continue
        for m in range(simulated + 1):
            weight = binom.pmf(m, simulated, q)
            if weight > 2e-3:
                low, high = real_rate(Counts(k1, n1, k0, n0, m, simulated))[1]
                covered += chance * weight * (low <= real <= high)
            else:
                covered += chance * weight
    assert covered >= 0.95


def test_the_simulation_narrows_it_where_outcomes_go_together_and_hardly_widens_it_where_they_do_not():
    alone = clopper_pearson(35, 50)
    together = real_rate(Counts(31, 35, 4, 15, 1400, 2000))[1]
    unrelated = real_rate(Counts(24, 34, 11, 16, 1400, 2000))[1]
    width = alone[1] - alone[0]
    assert together[1] - together[0] < 0.86 * width
    assert unrelated[1] - unrelated[0] < 1.05 * width


def test_a_biased_simulator_moves_nothing():
    """A simulator that always succeeds says nothing: what is left is the trials alone."""
    low, high = real_rate(Counts(35, 50, 0, 0, 2000, 2000))[1]
    assert (low, high) == pytest.approx(clopper_pearson(35, 50), abs=0.012)


@pytest.mark.parametrize(
    "wrong", [Counts(0, 0, 0, 0, 1, 2), Counts(1, 2, 0, 1, 0, 0), Counts(1, MOST_TRIALS, 0, 1, 1, 2)]
)
def test_numbers_that_give_no_interval_are_refused(wrong):
    with pytest.raises(ReportError, match="cannot be estimated"):
        real_rate(wrong)


def test_what_an_interval_is_worth_is_the_number_of_trials_alone_with_its_width():
    low, high = clopper_pearson(42, 60)
    assert worth(0.7, high - low) == 60


def test_simplers_measures_as_their_published_code_has_them():
    simulated, real = [0.9, 0.5, 0.1], [0.8, 0.2, 0.4]
    assert mean_maximum_rank_violation(simulated, real) == pytest.approx((0 + 0.2 + 0.2) / 3)
    assert mean_maximum_rank_violation([0.5, 0.5], [0.7, 0.3]) == pytest.approx(0.2)  # a tie on one side, once
    assert pearson([0.1, 0.2, 0.3], [0.2, 0.4, 0.6]) == pytest.approx(1)
    assert pearson([0.5, 0.5], [0.2, 0.4]) is None and pearson([0.5], [0.2]) is None
