"""The scores of a suite: success, robustness, grounding, and their geometric mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vla_agent.gate.decision.estimate import LEVEL, stratified
from vla_agent.leaderboard.frozen_suite import SUCCESS, Suite


def scores(rows: Iterable[Mapping[str, Any]], suite: Suite) -> dict[str, Any]:
    """The scores of all episodes of a suite.

    success is the mean over families of unperturbed episodes; robustness the mean over perturbations; grounding the
    mean over probes: it does what another instruction asks, does nothing without instruction or sight, and refrains
    where the instruction cannot be done.  Their 95 % intervals are those of `stratified` (Korn and Graubard, 1998).
    The score is their geometric mean, so that who does nothing has none.  Its interval is made of theirs at a level at
    which all three hold together with 95 % (Bonferroni).

    Args:
        rows: each with ``control`` (the cell), ``task`` and ``outcome``; at least one of each stratum.

    Returns:
        ``score``, ``interval``; ``parts``: name -> ``rate``, ``interval`` and ``strata``, name -> [k, n].
    """
    counts: dict[str, dict[str, list[int]]] = {part: {} for part in suite.parts}
    part_of = {cell: part for part, cells in suite.parts.items() for cell in cells}
    for row in rows:
        part = part_of[row["control"]]
        count = counts[part].setdefault(row["task"] if part == SUCCESS else row["control"], [0, 0])
        count[0] += bool(row["outcome"])
        count[1] += 1
    parts = {part: _part(strata) for part, strata in counts.items()}
    level = 1 - (1 - LEVEL) / len(parts)
    bounds = [_stratified(strata, level)[1] for strata in counts.values()]
    interval = [round(_geometric_mean([bound[i] for bound in bounds]), 4) for i in (0, 1)]
    score = _geometric_mean([part["rate"] for part in parts.values()])
    return {"score": round(score, 6), "interval": interval, "parts": parts}


def _part(strata: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    rate, interval = _stratified(strata, LEVEL)
    return {"rate": round(rate, 6), "interval": [round(v, 4) for v in interval], "strata": dict(strata)}


def _stratified(strata: Mapping[str, Sequence[int]], level: float) -> tuple[float, tuple[float, float]]:
    rate, interval = stratified([(k, n) for k, n in strata.values()], level)
    assert rate is not None, "every stratum has episodes"
    return rate, interval


def _geometric_mean(values: Sequence[float]) -> float:
    return math.prod(values) ** (1 / len(values))
