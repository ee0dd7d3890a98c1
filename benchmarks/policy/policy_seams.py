"""Jerk of the commanded actions at the seams between chunks, relative to the jerk inside chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

NAME = "policy-seams"
TITLE = "rms third difference of the actions across seams over inside chunks, real-time chunking at 200 ms delay"
TARGET = 1.2
UNIT = "ratio"
BETTER = "lower"
MODE, DELAY_MS = "realtime", 200
LIMITS = np.array([0.025] * 3 + [0.15] * 3)  # m and rad per control period: one unit of each motion
DRAWS = 2000


def run() -> dict[str, Any]:
    from benchmarks.policy import delays
    from vla_agent.policy.execution import delay_steps

    rows, chosen = [], None
    for mode, delay_ms in delays.cells():
        report = delays.report(mode, delay_ms)
        sums = episode_sums(delays.folder(mode, delay_ms) / "actions.npz", report, delay_steps(delay_ms, 20.0))
        across, inside, value = roots(sums.sum(axis=0))
        rows.append({"mode": mode, "delay_ms": delay_ms, "seams": across, "inside": inside, "ratio": value})
        if (mode, delay_ms) == (MODE, DELAY_MS):
            chosen = sums
    assert chosen is not None
    rng = np.random.default_rng(0)
    drawn = [roots(chosen[rng.integers(0, len(chosen), len(chosen))].sum(axis=0))[2] for _ in range(DRAWS)]
    known = [value for value in drawn if value is not None]
    return {
        "value": roots(chosen.sum(axis=0))[2],
        "n": len(chosen),
        "interval": [float(q) for q in np.quantile(known, [0.025, 0.975])] if known else None,
        "seeds": delays.seeds(),
        "rows": rows,
        "notes": "six motion components, each divided by its limit; the gripper is left out; a third difference spans "
        "four actions and counts as a seam where a new chunk begins within them; bootstrap interval over episodes; no "
        "inside where a new chunk comes more often than every four steps",
    }


def episode_sums(file: Path, report: dict[str, Any], delay: int) -> np.ndarray:
    """(episodes, 4): sum of squared third differences and their number, across seams and inside chunks."""
    from vla_agent.evaluation.result_store import key_of

    with np.load(file, allow_pickle=False) as stored:
        keys = [key_of(row) for row in report["episodes"]]
        return np.array([jerk_sums(stored[f"{k}/actions"], stored[f"{k}/looks"], delay) for k in keys])


def jerk_sums(actions: np.ndarray, looks: np.ndarray, delay: int) -> tuple[float, int, float, int]:
    """Sum and number across seams, sum and number inside chunks.

    Args:
        actions: (N, A) as executed.
        looks: control steps of the observations; a chunk takes over ``delay`` steps after its observation.
    """
    motion = actions[:, : len(LIMITS)] / LIMITS
    begins = looks + delay
    motion, begins = motion[begins[0] :], begins[1:] - begins[0]  # from the first chunk on; before it the arm holds
    if len(motion) < 4:
        return 0.0, 0, 0.0, 0
    squares = (np.diff(motion, 3, axis=0) ** 2).mean(axis=1)  # entry i spans actions i to i + 3
    first = np.arange(len(squares))[:, None]
    seam = ((begins > first) & (begins <= first + 3)).any(axis=1)
    return float(squares[seam].sum()), int(seam.sum()), float(squares[~seam].sum()), int((~seam).sum())


def roots(sums: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Root mean squares across seams and inside, and their ratio; None where there are no differences."""
    across, inside = (float(np.sqrt(s / n)) if n else None for s, n in (sums[:2], sums[2:]))
    return across, inside, across / inside if across is not None and inside else None
