"""The success rate on the real robot, with an interval that few real trials and many simulated episodes give together.

Prediction-powered inference (Angelopoulos et al., Science 382, 2023; PPI++, 2023) as SureSim (Badithela et al., 2025)
uses it for robots: simulated outcomes are cheap, biased predictions of real ones, and the paired trials measure how far
they may be believed.  With outcomes of two values the best linear correction is the stratified estimate

    p = q a + (1 - q) b

with q the simulated rate (of the unpaired episodes) and a, b the real rates in scenes where the simulated episode
succeeded and failed.  It equals the real mean minus (a - b) times the simulated rates' difference between the paired
and the other episodes: PPI++ with its weight lambda = a - b.

Its usual interval holds for many real trials only.  This one holds for any number: given the simulated outcomes, the
three counts are independent and binomial, so each limit is the exact one of Buehler (1957): the smallest p of all
(q, a, b) under which outcomes ranked at least as high as those observed have more than the tail's probability.
Outcomes are ranked by an approximate limit (Wilson's in each stratum, combined as by Zou and Donner, 2008); q, a and b
are searched in intervals of almost 1, whose missing probability is subtracted from the tail (Berger and Boos, 1994).
The benchmark open-bridge measures coverage and what is gained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri
from scipy.stats import binom

from vla_agent.errors import ReportError

LEVEL = 0.95
BEYOND = 3e-4  # probability outside each interval in which q, a and b are searched
Q_POINTS, A_POINTS, B_POINTS = 9, 40, 120
BINS = 21  # of the simulated count, whose distribution is wide and smooth
MASS = 1e-6  # probability of simulated counts left out at each end
MOST_TRIALS = 2000  # real ones; time and memory grow with their square


@dataclass(frozen=True)
class Counts:
    """What the interval needs.

    Attributes:
        k1, n1: real successes and trials in scenes where the simulated episode succeeded.
        k0, n0: the same where it failed.
        m, simulated: successes and number of the simulated episodes without a real trial.
    """

    k1: int
    n1: int
    k0: int
    n0: int
    m: int
    simulated: int

    @property
    def k(self) -> int:
        """Real successes."""
        return self.k1 + self.k0

    @property
    def n(self) -> int:
        """Real trials."""
        return self.n1 + self.n0

    @property
    def mirrored(self) -> Counts:
        """The counts with every outcome, real and simulated, turned round."""
        return Counts(self.n0 - self.k0, self.n0, self.n1 - self.k1, self.n1, self.simulated - self.m, self.simulated)

    @property
    def weight(self) -> float:
        """PPI++'s lambda: how much more often scenes succeed where the simulation does; 0 where it cannot be told."""
        return self.k1 / self.n1 - self.k0 / self.n0 if self.n1 and self.n0 else 0.0

    @property
    def correlation(self) -> float | None:
        """Pearson's correlation of paired outcomes; None where one of them is always the same."""
        margins = self.n1 * self.n0 * self.k * (self.n - self.k)
        cross = self.k1 * (self.n0 - self.k0) - self.k0 * (self.n1 - self.k1)
        return cross / float(margins) ** 0.5 if margins else None


def real_rate(counts: Counts, level: float = LEVEL) -> tuple[float, tuple[float, float]]:
    """The estimate of the real rate, and its interval, exact up to the fine grids on which it is computed.

    The paired scenes are a random sample of the simulated ones: chosen before their simulated outcomes were looked at.

    Raises:
        ReportError: no real trial, no unpaired simulated episode, or more trials than `MOST_TRIALS`.
    """
    for key, found, most in (("real trials", counts.n, MOST_TRIALS), ("simulated episodes", counts.simulated, None)):
        if found < 1 or (most and found > most):
            raise ReportError(
                "the real rate cannot be estimated from these numbers",
                key=key,
                expected=f"1 to {most:,}" if most else "at least 1 that has no real trial",
                found=found,
                remedy="add trials, or simulated episodes on other seeds: vla-agent eval --seed S --episodes N",
            )
    low, high = _lower(counts, level), 1 - _lower(counts.mirrored, level)
    correction = counts.weight * (counts.m / counts.simulated - counts.n1 / counts.n)
    estimate = min(max(counts.k / counts.n + correction, low), high)
    return estimate, (low, high)


def _lower(counts: Counts, level: float) -> float:
    """The exact lower limit."""
    tail = (1 - level) / 2
    q_span, a_span, b_span = (
        _clopper_pearson(k, n, BEYOND) for k, n in ((counts.m, counts.simulated), (counts.k1, counts.n1),
                                                    (counts.k0, counts.n0))
    )  # fmt: skip
    q = np.linspace(*q_span, Q_POINTS)
    a, b = (_dense_at_the_ends(span, points) for span, points in ((a_span, A_POINTS), (b_span, B_POINTS)))
    high_enough = _probability(counts, -ndtri(tail), q, a, b) - (tail - 3 * BEYOND)  # (Q, A, B), rises with a and b
    q = q[:, None]
    of_b, found_b = _first_crossing(high_enough, b)  # (Q, A)
    of_a, found_a = _first_crossing(high_enough.swapaxes(1, 2), a)  # (Q, B)
    limits = np.where(found_b, q * a + (1 - q) * of_b, 1.0), np.where(found_a, q * of_a + (1 - q) * b, 1.0)
    return float(min(limit.min() for limit in limits))


def _probability(counts: Counts, z: float, q: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Probability (Q, A, B) of the outcomes that are ranked at least as high as those observed."""
    edges = _bins(counts.simulated, q)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    in_bin = np.diff(binom.cdf(edges - 1, counts.simulated, q[:, None]), axis=1)  # (Q, bins)
    with_success, with_failure = _wilson(counts.n1, z), _wilson(counts.n0, z)
    here = with_success[:, counts.k1], with_failure[:, counts.k0]
    observed = _rank(counts, z, counts.m, *here) - 1e-12
    k1 = np.arange(counts.n1 + 1)
    at_least = binom.sf(np.arange(counts.n0 + 2)[:, None] - 1, counts.n0, b)  # (n0 + 2, B)
    mass = binom.pmf(k1, counts.n1, a[:, None])  # (A, n1 + 1)
    given_bin = np.empty((len(middles), len(a), len(b)))
    for place, m in enumerate(middles):
        rank = _rank(counts, z, m, with_success[:, :, None], with_failure)
        rank = np.maximum.accumulate(np.maximum.accumulate(rank, axis=0), axis=1)  # more successes never rank lower
        least = (rank < observed).sum(axis=1)
        given_bin[place] = mass @ at_least[least]
    return np.tensordot(in_bin, given_bin, axes=1)


def _bins(simulated: int, q: np.ndarray) -> np.ndarray:
    """Edges of the bins of the simulated count: bin i holds edges[i] to edges[i + 1] - 1."""
    low, high = binom.ppf(MASS, simulated, q[0]), binom.ppf(1 - MASS, simulated, q[-1])
    return np.unique(np.round(np.linspace(low, high + 1, BINS + 1)).astype(int))


def _rank(counts: Counts, z: float, m: float, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The approximate lower limit of the real rate at ``m`` and these rows of `_wilson`."""
    q = (m + 0.5) / (counts.simulated + 1)
    (a, below_a), (b, below_b) = first, second
    difference, variance = a - b, z * z * q * (1 - q) / (counts.simulated + 2)
    error = (q * below_a) ** 2 + ((1 - q) * below_b) ** 2 + difference * difference * variance
    return q * a + (1 - q) * b - np.sqrt(error)


def _wilson(n: int, z: float) -> np.ndarray:
    """Rate, and its distance to Wilson's lower limit, of 0 to n successes: (2, n + 1); of no trial one half each."""
    if n == 0:
        return np.full((2, 1), 0.5)
    k = np.arange(n + 1)
    limit = (k + z * z / 2 - z * np.sqrt(k * (n - k) / n + z * z / 4)) / (n + z * z)
    return np.stack([k / n, k / n - limit])


def _first_crossing(values: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where ``values`` (..., P) rise above 0, linear between the ``points`` (P,); and whether they do."""
    above = values > 0
    first = above.argmax(axis=-1)
    after = np.maximum(first, 1)[..., None]
    high, low = np.take_along_axis(values, after, -1)[..., 0], np.take_along_axis(values, after - 1, -1)[..., 0]
    share = np.clip(-low / np.maximum(high - low, 1e-300), 0, 1)
    left, right = points[after[..., 0] - 1], points[after[..., 0]]
    crossing = np.where(first == 0, points[0], left + (right - left) * share)
    return crossing, np.asarray(above.any(axis=-1))


def _clopper_pearson(k: int, n: int, missing: float) -> tuple[float, float]:
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, missing / 2))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - missing / 2))
    return low, high


def _dense_at_the_ends(span: tuple[float, float], points: int) -> np.ndarray:
    return span[0] + (span[1] - span[0]) * (1 - np.cos(np.linspace(0, np.pi, points))) / 2
