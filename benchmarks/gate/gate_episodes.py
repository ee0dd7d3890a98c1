"""Episodes: the sequential test compared with the exact test of fixed size at the same error rates."""

from __future__ import annotations

from typing import Any

NAME = "gate-episodes"
TITLE = "mean episodes of the sequential test over the fixed size, policies 10 points from the threshold, worst side"
TARGET = 0.6
UNIT = "of the fixed size"
BETTER = "lower"
POINTS = 0.10


def run() -> dict[str, Any]:
    import numpy as np

    from benchmarks.gate.gate_designs import GATE, POLICIES, SEED, simulate
    from vla_agent.evaluation.exact_tests import alpha_spent
    from vla_agent.gate.decision.gate_file import load_gate
    from vla_agent.gate.decision.sequential_test import design, fixed_size

    gate = load_gate(GATE)
    rng = np.random.default_rng(SEED)
    rows, ratios = [], []
    for threshold in sorted({gate.checks.success.threshold, 0.5, 0.6, 0.7}):
        errors = threshold, POINTS, alpha_spent(gate.alpha, 1), gate.beta
        test, fixed = design(*errors), fixed_size(*errors)[0]
        for p in (threshold - POINTS, threshold, threshold + POINTS):
            passed, episodes = simulate(test, p, rng)
            rows.append(
                {
                    "threshold": threshold,
                    "p": round(p, 2),
                    "fixed": fixed,
                    "mean": float(episodes.mean()),
                    "ratio": float(episodes.mean()) / fixed,
                    "exact_ratio": test.characteristic(p)[1] / fixed,
                    "pass_rate": float(passed.mean()),
                }
            )
            if p != threshold:
                ratios.append((float(episodes.mean()) / fixed, float(episodes.std()) / fixed))
    worst, spread = max(ratios)
    error = 1.96 * spread / POLICIES**0.5
    return {
        "value": worst,
        "n": POLICIES * len(rows),
        "interval": [worst - error, worst + error],
        "seeds": str(SEED),
        "rows": rows,
        "notes": "error rates of the shipped gate at the first attempt; margin 10 points",
    }
