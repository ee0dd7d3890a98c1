"""Power: policies better than the threshold by the margin that the gate file promises to detect."""

from __future__ import annotations

from typing import Any

NAME = "gate-power"
TITLE = "power of the gate's tests at threshold plus margin, worst of the shipped gate, less the promise 1 - beta"
TARGET = 0.0
UNIT = "over the promise"
BETTER = "higher"


def run() -> dict[str, Any]:
    import numpy as np

    from benchmarks.gate.gate_designs import GATE, POLICIES, SEED, shipped, simulate
    from vla_agent.evaluation.exact_tests import clopper_pearson
    from vla_agent.gate.decision.gate_file import load_gate

    promised = 1 - load_gate(GATE).beta
    rng = np.random.default_rng(SEED)
    rows = []
    for attempt in (1, 2, 5):
        for (threshold, margin), test in shipped(attempt).items():
            passed, episodes = simulate(test, threshold + margin, rng)
            rows.append(
                {
                    "attempt": attempt,
                    "threshold": threshold,
                    "margin": margin,
                    "passes": int(passed.sum()),
                    "power": float(passed.mean()),
                    "exact": test.characteristic(threshold + margin)[0],
                    "promised": promised,
                    "largest": test.size,
                    "mean_episodes": float(episodes.mean()),
                }
            )
    worst = min(rows, key=lambda r: r["exact"])
    low, high = clopper_pearson(int(worst["passes"]), POLICIES)
    return {
        "value": worst["exact"] - promised,
        "n": POLICIES * len(rows),
        "interval": [low - promised, high - promised],
        "seeds": str(SEED),
        "rows": rows,
        "passed": all(r["exact"] >= promised and abs(r["power"] - r["exact"]) < 0.015 for r in rows),
        "notes": "the value is computed exactly; the interval is that of the simulated policies of the same test",
    }
