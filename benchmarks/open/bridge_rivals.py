"""Two other intervals of prediction-powered inference, for comparison: the usual one, and one by betting."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.random import Generator

    from vla_agent.evaluation.bridge.real_rate import Counts

POINTS = 400  # means that are tried by betting
TRUNCATED = 0.5


def ppi_plus_plus(counts: Counts, z: float = 1.959964) -> tuple[float, float]:
    """PPI++ (Angelopoulos, Duchi and Zrnic, 2023) with its tuned lambda, and the normal interval."""
    n, many = counts.n, counts.simulated
    real, paired, q = counts.k / n, counts.n1 / n, counts.m / many
    variance_f = paired * (1 - paired)
    covariance = counts.k1 / n - real * paired
    weight = covariance / ((1 + n / many) * variance_f) if variance_f else 0.0
    estimate = real - weight * (paired - q)
    residual = real * (1 - real) - 2 * weight * covariance + weight**2 * variance_f
    half = z * (residual / n + weight**2 * q * (1 - q) / many) ** 0.5
    return estimate - half, estimate + half


def betting(counts: Counts, rng: Generator, alpha: float = 0.05) -> tuple[float, float]:
    """Valid for any number of trials, in SureSim's way: the hedged betting interval (Waudby-Smith and Ramdas, 2024) of
    real minus simulated, scaled to 0 to 1, and the simulated rate in an interval of its own, one tenth of the error."""
    import numpy as np
    from scipy.special import betaincinv

    equal = counts.k1 + counts.n0 - counts.k0
    x = np.repeat([0.5, 1.0, 0.0], [equal, counts.k0, counts.n1 - counts.k1])  # (real - simulated + 1) / 2
    rng.shuffle(x)
    low, high = _hedged(x, 0.9 * alpha)
    tail, m, many = 0.05 * alpha, counts.m, counts.simulated
    q_low = float(betaincinv(m, many - m + 1, tail)) if m else 0.0
    q_high = float(betaincinv(m + 1, many - m, 1 - tail)) if m < many else 1.0
    return max(0.0, 2 * low - 1 + q_low), min(1.0, 2 * high - 1 + q_high)


def _hedged(x: object, alpha: float) -> tuple[float, float]:
    import numpy as np

    values = np.asarray(x, float)
    n = len(values)
    past = np.arange(n) + 1
    spread = (0.25 + np.cumsum((values - (0.5 + np.cumsum(values)) / (past + 1)) ** 2)) / (past + 1)
    bets = np.sqrt(2 * np.log(2 / alpha) / (n * np.concatenate([[0.25], spread[:-1]])))
    means = (np.arange(POINTS) + 0.5) / POINTS
    gains = values[:, None] - means
    up = np.log1p(np.minimum(bets[:, None], TRUNCATED / means) * gains).sum(axis=0)
    down = np.log1p(-np.minimum(bets[:, None], TRUNCATED / (1 - means)) * gains).sum(axis=0)
    inside = means[np.maximum(up, down) - np.log(2) < np.log(1 / alpha)]
    return float(inside[0] - 0.5 / POINTS), float(inside[-1] + 0.5 / POINTS)
