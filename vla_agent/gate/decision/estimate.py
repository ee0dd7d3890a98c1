"""The headline: how often the policy succeeds, from all unperturbed episodes, every family with the same weight.

Decisions use the sample at which each test stopped; a rate read off that sample would be biased upwards, and would
weigh families by chance.  The estimate is the mean over families of each family's rate over all its unperturbed
episodes.  Its interval is that of Korn and Graubard (1998), "Confidence intervals for proportions with small expected
number of positive counts estimated from survey data": the exact interval of Clopper and Pearson for the effective
number of episodes, here the smaller of two, so that neither lucky families nor unequal numbers shorten it.  The
benchmark gate-headline measures its coverage and the estimate's bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta

from vla_agent.evaluation.exact_tests import clopper_pearson
from vla_agent.gate.decision.gate_file import Gate
from vla_agent.gate.decision.plan import CONTROL

LEVEL = 0.95
ADDED = 0.5  # successes, and failures, added to a family's count where its variance is estimated (Jeffreys)


def families_of(gate: Gate, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Family -> ``k``, ``n``, ``rate`` (None without episodes) and exact ``interval`` of all unperturbed episodes."""
    counts = {name: [0, 0] for name in gate.families()}
    for row in rows:
        if row["control"] == CONTROL:
            counts[row["task"]][0] += bool(row["success"])
            counts[row["task"]][1] += 1
    return {
        name: {"k": k, "n": n, "rate": k / n if n else None, "interval": list(clopper_pearson(k, n))}
        for name, (k, n) in counts.items()
    }


def estimate(families: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``rate`` (None where a family has no episode), its 95 % ``interval``, and ``worst_family``: that of the lowest
    rate, by ``name``, with ``k``, ``n`` and ``interval``; of what `families_of` counted."""
    played = {name: f for name, f in families.items() if f["n"]}
    worst = min(played, key=lambda name: (played[name]["rate"], name), default=None)
    rate, interval = stratified([(f["k"], f["n"]) for f in families.values()])
    return {
        "rate": rate,
        "interval": list(interval),
        "worst_family": None
        if worst is None
        else {"name": worst} | {key: played[worst][key] for key in ("k", "n", "interval")},
    }


def stratified(counts: Sequence[tuple[int, int]], level: float = LEVEL) -> tuple[float | None, tuple[float, float]]:
    """The mean of the rates of strata of equal weight, (k, n) each, and its interval; (None, (0, 1)) without episodes.

    The strata's numbers n may depend on earlier outcomes.
    """
    if not counts or any(n == 0 for _, n in counts):
        return None, (0.0, 1.0)
    rate = sum(k / n for k, n in counts) / len(counts)
    size = effective_size(counts)
    tail = (1 - level) / 2
    k = size * rate
    low = 0.0 if k <= 0 else float(beta.ppf(tail, k, size - k + 1))
    high = 1.0 if k >= size else float(beta.ppf(1 - tail, k + 1, size - k))
    return rate, (low, high)


def effective_size(counts: Sequence[tuple[int, int]]) -> float:
    """Episodes of a plain sample with the variance of the mean over strata: the smaller of two estimates.

    One takes all strata to have one rate; the other estimates the rate, hence the variance, of each.
    """
    squares = len(counts) ** 2
    equal = squares / sum(1 / n for _, n in counts)
    rates = [(k + ADDED) / (n + 2 * ADDED) for k, n in counts]
    mean = sum(rates) / len(rates)
    variance = sum(p * (1 - p) / n for p, (_, n) in zip(rates, counts, strict=True)) / squares
    return min(equal, mean * (1 - mean) / variance)
