"""Counts and comparisons that the verdict and the report are made of.  See also `vla_agent.evaluation.statistics`."""

from __future__ import annotations

from collections.abc import Mapping

from scipy.stats import binomtest


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


def spent(alpha: float, attempt: int) -> float:
    """The error rate that attempt 1, 2, ... may spend: alpha / (i (i + 1)), which sums to alpha over all attempts."""
    return alpha / (attempt * (attempt + 1))
