"""Counts, intervals and the report's summary.  Every percentage is computed from counts that are stored with it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scipy.stats import binomtest

CONTROLS = ("policy", "shuffled", "random", "expert")


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of k successes in n (E. B. Wilson, 1927); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(k, n).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def rate(outcomes: Iterable[bool]) -> dict[str, Any]:
    """``k``, ``n``, ``success`` = k / n and its 95 % Wilson ``interval``."""
    values = [bool(o) for o in outcomes]
    k, n = sum(values), len(values)
    return {"k": k, "n": n, "success": k / n if n else None, "interval": list(wilson(k, n))}


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> dict[str, Any]:
    """Success of ``a`` minus success of ``b`` on the same seeds, with a 95 % interval for paired proportions.

    Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
    Statistics in Medicine 17 (1998), method 10: the Wilson limits of both, combined through their correlation.
    """
    n = len(a)
    both = sum(x and y for x, y in zip(a, b, strict=True))
    only_a, only_b = sum(a) - both, sum(b) - both
    neither = n - both - only_a - only_b
    if n == 0:
        return {"n": 0, "only_first": 0, "only_second": 0, "difference": None, "interval": [-1.0, 1.0]}
    p, q = (both + only_a) / n, (both + only_b) / n
    (l1, u1), (l2, u2) = wilson(both + only_a, n), wilson(both + only_b, n)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = float(both * neither - only_a * only_b)
    if cross > 0:
        cross = max(cross - n / 2, 0)
    phi = cross / math.sqrt(margins) if margins else 0.0
    below = math.sqrt(max((p - l1) ** 2 - 2 * phi * (p - l1) * (u2 - q) + (u2 - q) ** 2, 0))
    above = math.sqrt(max((u1 - p) ** 2 - 2 * phi * (u1 - p) * (q - l2) + (q - l2) ** 2, 0))
    difference = p - q
    return {
        "n": n,
        "only_first": only_a,
        "only_second": only_b,
        "difference": difference,
        "interval": [difference - below, difference + above],
    }


def summarise(episodes: Sequence[Mapping[str, Any]], seconds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The report's ``summary``: per control the pooled rate, the mean over families, each family, failures by mode.

    ``differences`` compares the policy with each control on the seeds that both have.  ``deaf`` counts
    the shuffled runs only of scenes where another target of the same task exists.
    """
    present = [c for c in CONTROLS if any(e["control"] == c for e in episodes)]
    controls = {c: _control([e for e in episodes if e["control"] == c]) for c in present}
    outcome = {(e["control"], e["task"], e["seed"]): bool(e["success"]) for e in episodes}
    differences = {}
    for control in present:
        shared = [key[1:] for key in outcome if key[0] == "policy" and (control, *key[1:]) in outcome]
        if control != "policy" and shared:
            mine, theirs = ([outcome[(c, *key)] for key in shared] for c in ("policy", control))
            differences[control] = paired_difference(mine, theirs)
    summary: dict[str, Any] = {"controls": controls, "differences": differences, "seconds": seconds}
    if "shuffled" in present:
        summary["deaf"] = rate(e["success"] for e in episodes if e.get("shuffle") == "scene")
    return summary


def summarise_groups(
    episodes: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """``groups`` for the report's summary: the policy's rate in each group of tasks; {} where there are no groups.

    ``mean_over_groups`` counts every group the same, however many tasks it has: published means of Meta-World are of
    this kind, and differ from `summarise`'s mean over tasks.
    """
    rows = [e for e in episodes if e["control"] == "policy"]
    rates = {name: rate(e["success"] for e in rows if e["task"] in tasks) for name, tasks in groups.items()}
    played = {name: found for name, found in rates.items() if found["n"]}
    if not played:
        return {}
    mean = sum(found["success"] for found in played.values()) / len(played)
    return {"groups": {"rates": played, "mean_over_groups": mean}}


def _control(episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    families: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for episode in episodes:
        families[episode["task"]].append(episode)
    per_family = {
        name: rate(e["success"] for e in rows) | {"failures": _failures(rows), "steps": _mean_steps(rows)}
        for name, rows in families.items()
    }
    return rate(e["success"] for e in episodes) | {
        "mean_over_families": sum(f["success"] for f in per_family.values()) / len(per_family),
        "failures": _failures(episodes),
        "families": per_family,
    }


def _failures(episodes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(e["failure"] for e in episodes if e["failure"]).most_common())


def _mean_steps(episodes: Sequence[Mapping[str, Any]]) -> float | None:
    steps = [e["steps"] for e in episodes if e["success"]]
    return sum(steps) / len(steps) if steps else None
