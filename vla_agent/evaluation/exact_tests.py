"""Exact intervals, tests and corrections of the gate and of comparisons.  See also `evaluation.success_statistics`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import binom, binomtest


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of k successes in n (Clopper and Pearson, 1934); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(k, n).proportion_ci(confidence_level=level, method="exact")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p value that two paired rates differ: the exact test of McNemar (1947) on the discordant pairs."""
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values that control the family-wise error (Holm, 1979), in the order given."""
    adjusted, highest = {}, 0.0
    ranked = sorted(p_values, key=lambda name: (p_values[name], name))
    for rank, name in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def alpha_spent(alpha: float, attempt: int) -> float:
    """The error rate that attempt 1, 2, ... may spend: alpha / (i (i + 1)), which sums to alpha over all attempts."""
    return alpha / (attempt * (attempt + 1))


def mcnemar_power(n: int, only_first: float, only_second: float, alpha: float) -> float:
    """Probability that `mcnemar` on n pairs gives p <= alpha in favour of the first.

    Args:
        only_first, only_second: probabilities of the two kinds of discordant pairs.
    """
    if only_first == 0:
        return 0.0
    discordant = np.arange(n + 1)
    least = binom.isf(alpha / 2, discordant, 0.5) + 1  # wins that the test asks for; more than all where it cannot pass
    wins = binom.sf(least - 1, discordant, only_first / (only_first + only_second))
    return float(binom.pmf(discordant, n, only_first + only_second) @ wins)


def pairs_to_settle(
    n: int, only_first: int, only_second: int, smallest: float, alpha: float = 0.05, power: float = 0.8
) -> tuple[int, float]:
    """Pairs with which `mcnemar` would show, with probability ``power``, the difference seen in n pairs; and it.

    A difference below ``smallest`` does not matter: then the pairs that would show one of that size, with the observed
    fraction of discordant pairs.
    """
    difference = max(abs(only_first - only_second) / n, smallest)
    discordant = max((only_first + only_second) / n, difference)
    chances = (discordant + difference) / 2, (discordant - difference) / 2
    low, high = 0, 1
    while mcnemar_power(high, *chances, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar_power(middle, *chances, alpha) >= power else (middle, high)
    return high, difference
