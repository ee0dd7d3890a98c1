"""False passes: policies that are exactly as good as the threshold, through every test of the shipped gate."""

from __future__ import annotations

from typing import Any

NAME = "gate-false-pass"
TITLE = "false-pass rate of 10,000 simulated policies at the threshold, five attempts each, worst test of the gate"
TARGET = 0.05
UNIT = "of the policies"
BETTER = "lower"
TRIES = 5


def run() -> dict[str, Any]:
    import numpy as np

    from benchmarks.gate.gate_designs import GATE, POLICIES, SEED, shipped, simulate
    from vla_agent.evaluation.exact_tests import clopper_pearson
    from vla_agent.gate.decision.gate_file import load_gate

    alpha = load_gate(GATE).alpha
    rng = np.random.default_rng(SEED)
    attempts = {i: shipped(i) for i in range(1, TRIES + 1)}
    rows = []
    for pair, test in attempts[1].items():
        passed, _ = simulate(test, pair[0], rng)
        again = passed.copy()
        for i in range(2, TRIES + 1):
            again |= simulate(attempts[i][pair], pair[0], rng)[0]
        rows.append(
            {
                "threshold": pair[0],
                "margin": pair[1],
                "alpha_1": test.alpha,
                "false_passes": int(passed.sum()),
                "rate": float(passed.mean()),
                "exact": test.characteristic(pair[0])[0],
                f"rate_{TRIES}_attempts": float(again.mean()),
                "alpha": alpha,
            }
        )
    worst = max(r[f"rate_{TRIES}_attempts"] for r in rows)
    # The simulated rate scatters about the exact one; the promise is on the exact one, and the simulation must agree.
    agree = all(clopper_pearson(int(r["false_passes"]), POLICIES, 0.999)[0] <= r["exact"] for r in rows)
    return {
        "value": worst,
        "n": POLICIES * len(rows),
        "interval": list(clopper_pearson(round(worst * POLICIES), POLICIES)),
        "seeds": str(SEED),
        "rows": rows,
        "passed": bool(worst <= alpha <= TARGET and agree and all(r["exact"] <= r["alpha_1"] for r in rows)),
        "notes": f"alpha of the shipped gate: {alpha:g} over all attempts, of which the first may spend alpha_1; every "
        "attempt with fresh episodes. `exact` is the computed rate of the first attempt, `rate` the simulated. Passed "
        "where each exact rate is at most alpha_1, the simulated ones agree with it, and all attempts stay below alpha",
    }
