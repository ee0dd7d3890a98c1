"""Real trials and simulated episodes -> the report of the real rate, by policy and by task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_agent.evaluation.bridge.pairing import Study, pair
from vla_agent.evaluation.bridge.rank_violation import mean_maximum_rank_violation, pearson
from vla_agent.evaluation.bridge.real_rate import LEVEL, Counts, real_rate
from vla_agent.evaluation.bridge.real_trials import parse_trials
from vla_agent.evaluation.bridge.simulated_episodes import Simulated
from vla_agent.evaluation.exact_tests import clopper_pearson
from vla_agent.evaluation.success_statistics import paired_difference, rate

FORMAT = 1
MOST_WORTH = 1_000_000  # real trials that an interval is said to be worth


def bridge(file: Path, content: bytes, simulated: Sequence[Simulated], level: float = LEVEL) -> dict[str, Any]:
    """The report: plain JSON data.

    Args:
        file, content: the CSV file of real trials, and its bytes.
        simulated: of each policy that was tried.
        level: of the intervals of the real rate.

    Returns:
        ``policies``: one entry each, with ``all`` and ``tasks``, rows as `row` makes them; ``order``: MMRV and
        Pearson's correlation over policies and over tasks, where there are two.

    Raises:
        ReportError: as `real_trials.parse_trials`, `pairing.pair` and `real_rate.real_rate`.
    """
    studies = pair(file, parse_trials(file, content), simulated)
    policies = [_policy(study, label, level) for study, label in zip(studies, _labels(studies), strict=True)]
    return {
        "format": FORMAT,
        "level": level,
        "trials": {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()},
        "policies": policies,
        "order": {
            "policies": _order({p["name"]: p["all"] for p in policies}),
            "tasks": {p["name"]: _order(p["tasks"]) for p in policies},
        },
    }


def _labels(studies: Sequence[Study]) -> list[str]:
    """A name for each policy; with the digest's first digits where two have one name."""
    names = [study.simulated.name for study in studies]
    return [
        name if names.count(name) == 1 else f"{name} {(study.simulated.policy or '')[:8]}"
        for name, study in zip(names, studies, strict=True)
    ]


def _policy(study: Study, label: str, level: float) -> dict[str, Any]:
    source = study.simulated
    return {
        "name": label,
        "digest": source.policy,
        "simulated": {"file": source.file.name, "sha256": hashlib.sha256(source.content).hexdigest()},
        "all": row(study, None, level),
        "tasks": {task: row(study, task, level) for task in study.tasks},
    }


def row(study: Study, task: str | None, level: float) -> dict[str, Any]:
    """One task's numbers, or those of all.

    Returns:
        ``rate`` and ``interval`` of the real success; ``counts`` that they come from; ``real``: the trials alone, with
        their exact interval; ``simulated``; ``gap``: simulated minus real in the paired scenes; ``correlation`` of
        paired outcomes; ``worth``: number of trials alone that would give an interval of this width.
    """
    counts = study.counts(task)
    estimate, interval = real_rate(counts, level)
    pairs = [outcomes for (name, _), outcomes in study.pairs.items() if task in (None, name)]
    return {
        "rate": estimate,
        "interval": list(interval),
        "counts": {key: getattr(counts, key) for key in ("k1", "n1", "k0", "n0", "m", "simulated")},
        "real": {
            "k": counts.k,
            "n": counts.n,
            "rate": counts.k / counts.n,
            "interval": list(clopper_pearson(counts.k, counts.n, level)),
        },
        "simulated": rate([simulated for _, simulated in pairs] + _unpaired(counts)),
        "gap": paired_difference([simulated for _, simulated in pairs], [real for real, _ in pairs]),
        "correlation": counts.correlation,
        "weight": counts.weight,
        "worth": worth(estimate, interval[1] - interval[0], level),
    }


def _unpaired(counts: Counts) -> list[bool]:
    return [True] * counts.m + [False] * (counts.simulated - counts.m)


def worth(estimate: float, width: float, level: float = LEVEL) -> int:
    """The number of real trials whose exact interval alone (Clopper and Pearson) has this width at this rate."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2

    def wide(n: int) -> bool:
        k = estimate * n
        low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
        high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
        return high - low > width

    low, high = 0, 1
    while wide(high) and high < MOST_WORTH:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def _order(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """SIMPLER's measures over the names of ``rows``; None for fewer than two."""
    if len(rows) < 2:
        return None
    simulated, real = ([r[side]["success" if side == "simulated" else "rate"] for r in rows.values()]
                       for side in ("simulated", "real"))  # fmt: skip
    return {
        "n": len(rows),
        "mmrv": mean_maximum_rank_violation(simulated, real),
        "pearson": pearson(simulated, real),
    }


def sentence(policy: Mapping[str, Any], level: float) -> str:
    """What is known of the real rate of one policy."""
    numbers, real = policy["all"], policy["all"]["real"]
    text = (
        f"Real success of {policy['name']}: {span(numbers['rate'], numbers['interval'], level)}, from {real['n']} real "
        f"trials and {numbers['counts']['simulated']:,} simulated episodes beside them. "
        f"The trials alone: {real['k']} of {real['n']}, {span(real['rate'], real['interval'], level)}"
    )
    gained = numbers["worth"] - real["n"]
    if gained > 0:
        return text + f"; the simulation is worth {gained} more trials."
    found = "unknown" if numbers["correlation"] is None else f"{numbers['correlation']:+.2f}"
    return (
        f"{text}. The simulation adds nothing here: its outcomes go too little with the real ones (correlation "
        f"{found}), or trials or simulated episodes are too few."
    )


def span(rate: float, interval: Sequence[float], level: float) -> str:
    """``71 % (95 %: 62 to 79 %)``"""
    low, high = (f"{100 * x:.1f}".removesuffix(".0") for x in interval)
    return f"{100 * rate:.1f} % ({100 * level:g} %: {low} to {high} %)"
