"""Success of the shipped policy when the simulation is not paused during inference, for each execution mode."""

from __future__ import annotations

from typing import Any

import numpy as np

NAME = "policy-delay"
TITLE = "success with real-time chunking at 200 ms delay over its success without delay; rows: all modes and delays"
TARGET = 0.9
UNIT = "ratio"
BETTER = "higher"
MODE, DELAY_MS = "realtime", 200
DRAWS = 2000


def run() -> dict[str, Any]:
    from benchmarks.policy import delays
    from vla_agent.policy.execution import delay_steps

    rows, outcomes = [], {}
    for mode, delay_ms in delays.cells():
        report = delays.report(mode, delay_ms)
        counts = report["summary"]["controls"]["policy"]
        low, high = counts["interval"]
        outcomes[mode, delay_ms] = {(e["task"], e["seed"]): e["success"] for e in report["episodes"]}
        rows.append(
            {
                "mode": mode,
                "delay_ms": delay_ms,
                "delay_steps": delay_steps(delay_ms, 20.0),
                "k": counts["k"],
                "n": counts["n"],
                "success": counts["success"],
                "low": low,
                "high": high,
            }
        )
    without, late = outcomes[MODE, 0], outcomes[MODE, DELAY_MS]
    pairs = np.array([(late[key], without[key]) for key in without], float)
    value, interval = ratio(pairs)
    return {
        "value": value,
        "n": len(pairs),
        "interval": interval,
        "seeds": delays.seeds(),
        "rows": rows,
        "notes": f"{len(pairs)} pairs of episodes; bootstrap interval over pairs ({DRAWS} draws); "
        "delays are rounded up to control steps of 50 ms; ensembles observe as often as the delay allows",
    }


def ratio(pairs: np.ndarray) -> tuple[float | None, list[float] | None]:
    """Mean of the first column over mean of the second, with a 95 % bootstrap interval; None where that mean is 0."""
    if not pairs[:, 1].any():
        return None, None
    rng = np.random.default_rng(0)
    means = pairs[rng.integers(0, len(pairs), (DRAWS, len(pairs)))].mean(axis=1)
    means = means[means[:, 1] > 0]
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    return float(pairs[:, 0].mean() / pairs[:, 1].mean()), [float(low), float(high)]
