"""The scores of a suite: success, robustness, grounding, and their geometric mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vla_agent.gate.decision.estimate import stratified
from vla_agent.leaderboard.frozen_suite import SUCCESS, Suite

DRAWS, SEED = 20_000, 0  # of the score's interval
PRIOR = 0.5  # Jeffreys


def scores(rows: Iterable[Mapping[str, Any]], suite: Suite) -> dict[str, Any]:
    """The scores of all episodes of a suite.

    success is the mean over families of unperturbed episodes; robustness the mean over perturbations; grounding the
    mean over probes: it does what another instruction asks, does nothing without instruction or sight, and refrains
    where the instruction cannot be done.  Their intervals are those of `stratified` (Korn and Graubard, 1998).  The
    score is their geometric mean, so that who does nothing has none; its 95 % interval is that of draws from the
    posterior of each stratum's rate (Beta, Jeffreys' prior).

    Args:
        rows: each with ``control`` (the cell), ``task`` and ``outcome``.

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
    score = float(np.prod([part["rate"] for part in parts.values()]) ** (1 / len(parts)))
    drawn = _drawn([list(strata.values()) for strata in counts.values()])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"score": round(score, 6), "interval": [round(float(low), 4), round(float(high), 4)], "parts": parts}


def _part(strata: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    rate, interval = stratified([(k, n) for k, n in strata.values()])
    assert rate is not None
    return {"rate": round(rate, 6), "interval": [round(v, 4) for v in interval], "strata": dict(strata)}


def _drawn(parts: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    """Draws of the score from the posterior of every stratum's rate."""
    rng = np.random.default_rng(SEED)
    means = [np.mean([rng.beta(k + PRIOR, n - k + PRIOR, DRAWS) for k, n in strata], axis=0) for strata in parts]
    return np.asarray(np.prod(means, axis=0) ** (1 / len(means)))
