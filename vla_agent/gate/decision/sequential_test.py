"""A sequential test of a success rate with stated error rates, which stops early in both directions.

H0: p <= threshold, against p >= threshold + margin.  Wald's sequential probability ratio test (1945), cut off at a
largest size.  Nothing is approximated: the probability of every way to stop is computed by recursion over (n, k), and
the boundaries are chosen so that the exact error rates, with cut-off and overshoot, satisfy:

    P(pass) <= alpha at p = threshold (hence below it),     P(fail) <= beta at p = threshold + margin (hence above).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import ceil, log

import numpy as np
from scipy.stats import binom

from vla_agent.evaluation.exact_tests import clopper_pearson

STRETCH = 1.6  # largest size over that of the test of fixed size
SLACK = 1e-12


@dataclass(frozen=True)
class Decision:
    """Where a test stopped.  ``verdict``: "pass", "fail", or None while it continues; k successes in the n used."""

    verdict: str | None
    k: int
    n: int


@dataclass(frozen=True)
class SequentialTest:
    """Stops after episode n: passes where k >= ``upper[n]``, fails where k <= ``lower[n]``; at ``size`` one holds.

    ``upper`` and ``lower``: (size + 1,), index n.  Made by `design`.
    """

    threshold: float
    margin: float
    alpha: float
    beta: float
    upper: tuple[int, ...]
    lower: tuple[int, ...]

    @property
    def size(self) -> int:
        """The largest number of episodes."""
        return len(self.upper) - 1

    def decide(self, outcomes: Sequence[bool]) -> Decision:
        """The decision after these outcomes, in their order; outcomes after the stop are ignored."""
        k = n = 0
        for n, outcome in enumerate(outcomes, 1):
            k += bool(outcome)
            if k >= self.upper[n]:
                return Decision("pass", k, n)
            if k <= self.lower[n]:
                return Decision("fail", k, n)
        return Decision(None, k, n)

    def stops(self, p: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probability (size + 1,) to pass and to fail at each n, and to be at each k (size + 1,) at the last n."""
        passing, failing = np.zeros(self.size + 1), np.zeros(self.size + 1)
        mass, last = np.zeros(self.size + 2), np.zeros(self.size + 1)
        mass[0] = 1.0
        for n in range(1, self.size + 1):
            mass[1:] = mass[1:] * (1 - p) + mass[:-1] * p
            mass[0] *= 1 - p
            if n == self.size:
                last = mass[:-1].copy()
            high, low = self.upper[n], self.lower[n] + 1
            passing[n], failing[n] = mass[high:].sum(), mass[:low].sum()
            mass[high:] = mass[:low] = 0.0
        return passing, failing, last

    def characteristic(self, p: float) -> tuple[float, float]:
        """Exact probability to pass, and exact mean number of episodes, at success rate p."""
        passing, failing, _ = self.stops(p)
        return float(passing.sum()), float(np.arange(self.size + 1) @ (passing + failing))

    def interval(self, decision: Decision, level: float = 0.95) -> tuple[float, float]:
        """Exact interval of p after the stop, by the stage-wise order of outcomes (Jennison and Turnbull, 2000, 8.4).

        An earlier pass is evidence for a higher p, an earlier fail for a lower one.  Before a stop: Clopper-Pearson.
        """
        return _interval(self, decision, level)

    def tails(self, decision: Decision, p: float) -> tuple[float, float]:
        """Probability of an outcome at least as high, and of one at least as low, as this one."""
        passing, failing, last = self.stops(p)
        n = decision.n
        if n == self.size:
            earlier = passing[:n].sum(), failing[:n].sum()
            return earlier[0] + last[decision.k :].sum(), earlier[1] + last[: decision.k + 1].sum()
        if decision.verdict == "pass":
            return passing[: n + 1].sum(), 1 - passing[:n].sum()
        return 1 - failing[:n].sum(), failing[: n + 1].sum()


@cache
def _interval(test: SequentialTest, decision: Decision, level: float) -> tuple[float, float]:
    if decision.verdict is None:
        return clopper_pearson(decision.k, decision.n, level)
    tail = (1 - level) / 2
    low = 0.0 if decision.k == 0 else _root(lambda p: test.tails(decision, p)[0] - tail)
    high = 1.0 if decision.k == decision.n else _root(lambda p: tail - test.tails(decision, p)[1])
    return low, high


def _root(increasing) -> float:  # noqa: ANN001 - a function of p in [0, 1]
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if increasing(middle) > 0 else (middle, high)
    return (low + high) / 2


@lru_cache(maxsize=256)
def fixed_size(threshold: float, margin: float, alpha: float, beta: float) -> tuple[int, int]:
    """The smallest n, with its least passing count c, of the exact binomial test with the same error rates."""
    n = 1
    while True:
        c = int(binom.isf(alpha, n, threshold)) + 1
        if c <= n and binom.cdf(c - 1, n, threshold + margin) <= beta:
            return n, c
        n += 1


@lru_cache(maxsize=256)
def design(threshold: float, margin: float, alpha: float, beta: float) -> SequentialTest:
    """The sequential test of these error rates (0 < threshold < threshold + margin < 1)."""
    a, b = log((1 - beta) / alpha), log((1 - alpha) / beta)  # Wald's boundaries
    size = ceil(STRETCH * fixed_size(threshold, margin, alpha, beta)[0])
    while True:
        test = _cut_off(threshold, margin, alpha, beta, size, a, b)
        if test is not None and 1 - test.characteristic(threshold + margin)[0] <= beta:
            return test
        a, b, size = a * 1.02, b * 1.02, size + 1


def _cut_off(
    threshold: float, margin: float, alpha: float, beta: float, size: int, a: float, b: float
) -> SequentialTest | None:
    """The test between the lines a and -b of the log likelihood ratio, with the least last cut that keeps alpha."""
    up = log((threshold + margin) / threshold)
    down = log((1 - threshold - margin) / (1 - threshold))
    n = np.arange(size + 1)
    upper = np.ceil((a - n * down) / (up - down) - SLACK).astype(int)
    lower = np.floor((-b - n * down) / (up - down) + SLACK).astype(int)
    upper = np.where(upper > n, size + 1, upper)
    lower = np.maximum(lower, -1)
    upper[size], lower[size] = size + 1, -1
    passing, _, last = SequentialTest(threshold, margin, alpha, beta, tuple(upper), tuple(lower)).stops(threshold)
    beyond = np.cumsum(last[::-1])[::-1] + passing.sum()  # P(pass) where the cut is k
    allowed = np.flatnonzero(beyond <= alpha)
    if len(allowed) == 0:
        return None
    upper[size], lower[size] = allowed[0], allowed[0] - 1
    return SequentialTest(threshold, margin, alpha, beta, tuple(map(int, upper)), tuple(map(int, lower)))
