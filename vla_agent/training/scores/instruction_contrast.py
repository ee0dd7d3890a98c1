"""Which episodes have the wrong instruction: those whose actions other instructions explain as well as their own.

The motion of such an episode is a good one, so that its loss alone says little.  The *contrast* is the logarithm of the
loss with the own instruction, less the mean of the logarithms with other instructions of the dataset (a pointwise
mutual information of actions and instruction, up to its sign): below 0 where the own one explains the actions.  What a
wrong one looks like need not be guessed: each other instruction, contrasted with the remaining ones, is wrong here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FEWEST = 8  # episodes
FEWEST_OTHERS = 2  # instructions: one alone has nothing to be contrasted with
ROUNDS = 500
SPREAD = 1.4826  # standard deviation of a Gaussian, in median absolute deviations
START = 0.8  # share of right instructions at which the fit begins


@dataclass(frozen=True)
class Contrasts:
    """The Gaussian of wrong instructions, that of right ones, and the share of the latter."""

    wrong_mean: float
    wrong_deviation: float
    right_mean: float
    right_deviation: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def contrasts(log_losses: np.ndarray) -> np.ndarray:
    """Contrast of each instruction with the others (K,), the own one first: of it alone the own loss is left out.

    Args:
        log_losses: (K,) of one episode: own instruction, then others.
    """
    own, others = log_losses[0], log_losses[1:]
    if len(others) < FEWEST_OTHERS:
        return np.zeros(len(log_losses))
    rest = (others.sum() - others) / (len(others) - 1)
    return np.concatenate([[own - others.mean()], others - rest])


def contrast_weights(values: np.ndarray) -> tuple[np.ndarray, Contrasts | None]:
    """Probability (n,) that an episode's instruction is right, which never rises with the contrast.

    Args:
        values: (n, K), `contrasts` of every episode.

    Returns:
        The weights, and the fit; 1 and None where there are too few episodes or instructions.
    """
    own, wrong = values[:, 0], values[:, 1:].ravel()
    ones = np.ones(len(own))
    if len(own) < FEWEST or values.shape[1] <= FEWEST_OTHERS:
        return ones, None
    middle = float(np.median(wrong))
    deviation = float(SPREAD * np.median(np.abs(wrong - middle)))
    if deviation == 0 or np.ptp(own) == 0:
        return ones, None
    mean, spread, share = float(np.quantile(own, 0.25)), float(own.std()), START
    if mean >= middle:  # no instruction explains anything: nothing can be told of them
        return ones, None
    odds = np.zeros(len(own))
    for _ in range(ROUNDS):
        right = _log_density(own, mean, spread) + np.log(share)
        odds = right - _log_density(own, middle, deviation) - np.log1p(-share)
        probability = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        before, share = share, float(np.clip(probability.mean(), 1e-6, 1 - 1e-6))
        mean = float(probability @ own / probability.sum())
        spread = max(float(np.sqrt(probability @ (own - mean) ** 2 / probability.sum())), deviation)
        if abs(share - before) < 1e-9:
            break
    weights = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
    order = np.argsort(own)
    likeliest = np.where(own[order] <= mean, weights.max(), weights[order])
    weights[order] = np.minimum.accumulate(likeliest)
    return weights, Contrasts(middle, deviation, mean, spread, share)


def _log_density(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return -0.5 * ((values - mean) / deviation) ** 2 - np.log(deviation)
