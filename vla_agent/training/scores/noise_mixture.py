"""Which episodes are noise, by their losses: a mixture of two Gaussians, or the lowest losses alone.

A trained policy has a higher loss on demonstrations that do not fit their images and instruction.  Two Gaussians are
fitted to the logarithms of the losses by expectation maximisation; an episode's weight is its probability under the
one of the lower mean (noise-adaptive learning of NEVLP: Tao et al. 2024).  Keeping the lowest losses is what POINTS
(Liu et al. 2024) does with perplexities.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FEWEST = 8  # episodes: fewer say nothing of two groups
ROUNDS = 500
NARROWEST = 1e-3  # standard deviation of a Gaussian, as a fraction of that of all losses
APART = 2.0  # Ashman's D: the means' distance, in root mean squares of the two standard deviations, times the root of 2


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians over the logarithm of the loss, the lower mean first.

    ``two``: whether they describe the losses better than one Gaussian does, by the Bayesian information criterion, and
    stand apart by Ashman's D of at least 2.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    shares: tuple[float, float]
    bic_of_two: float
    bic_of_one: float
    apart: float
    two: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def mixture_weights(losses: np.ndarray) -> tuple[np.ndarray, Mixture | None]:
    """Weights (n,) in [0, 1] that never rise with the loss; all 1 where there are no two groups.

    Args:
        losses: (n,), finite and at least 0.

    Returns:
        The weights, and the mixture; None for fewer than `FEWEST` losses, or equal ones.
    """
    values = np.log(np.maximum(losses, np.finfo(np.float64).tiny))
    if len(values) < FEWEST or np.ptp(values) == 0:
        return np.ones(len(values)), None
    mixture, low = _fit(values)
    if not mixture.two:
        return np.ones(len(values)), mixture
    # Far below the lower mean the wider Gaussian may be the likelier one again: it has no say there.
    order = np.argsort(values)
    below = values[order] <= mixture.means[0]
    sorted_weights = np.where(below, low.max(), low[order])
    weights = np.empty(len(values))
    weights[order] = np.minimum.accumulate(sorted_weights)
    return weights, mixture


def lowest_weights(losses: np.ndarray, fraction: float) -> np.ndarray:
    """1 for the lowest ``fraction`` of the losses (n,), rounded up to a whole episode; 0 for the others."""
    weights = np.zeros(len(losses))
    weights[np.argsort(losses, kind="stable")[: int(np.ceil(fraction * len(losses)))]] = 1.0
    return weights


def _fit(values: np.ndarray) -> tuple[Mixture, np.ndarray]:
    """The mixture, and each value's probability (n,) under the lower Gaussian."""
    count, spread = len(values), values.std()
    narrowest = NARROWEST * spread
    means = np.quantile(values, (0.25, 0.9))
    deviations, shares = np.full(2, spread), np.full(2, 0.5)
    before = -np.inf
    for _ in range(ROUNDS):
        densities = _log_densities(values[:, None], means, deviations) + np.log(shares)
        total = np.logaddexp(densities[:, 0], densities[:, 1])
        own = np.exp(densities - total[:, None])
        if total.sum() - before < 1e-9 * count:
            break
        before = total.sum()
        sizes = own.sum(axis=0) + 1e-12
        shares, means = sizes / sizes.sum(), (own * values[:, None]).sum(axis=0) / sizes
        deviations = np.sqrt((own * (values[:, None] - means) ** 2).sum(axis=0) / sizes)
        deviations = np.maximum(deviations, narrowest)
    low = int(np.argmin(means))
    order = [low, 1 - low]
    one = float(_log_densities(values, values.mean(), spread).sum())
    bic_of_two, bic_of_one = 5 * np.log(count) - 2 * float(total.sum()), 2 * np.log(count) - 2 * one
    apart = float(np.sqrt(2) * np.ptp(means) / np.hypot(*deviations))
    mixture = Mixture(
        means=(float(means[low]), float(means[1 - low])),
        deviations=(float(deviations[low]), float(deviations[1 - low])),
        shares=(float(shares[low]), float(shares[1 - low])),
        bic_of_two=float(bic_of_two),
        bic_of_one=float(bic_of_one),
        apart=apart,
        two=bool(bic_of_two < bic_of_one and apart >= APART),
    )
    return mixture, own[:, order[0]]


def _log_densities(values: np.ndarray, mean: np.ndarray | float, deviation: np.ndarray | float) -> np.ndarray:
    return -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)
