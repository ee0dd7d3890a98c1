"""The sequential tests that the shipped gate uses, and simulated policies to test them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_agent.evaluation.exact_tests import alpha_spent
from vla_agent.gate.decision.gate_file import load_gate
from vla_agent.gate.decision.sequential_test import SequentialTest, design

GATE = Path(__file__).parents[2] / "gates" / "tabletop.yaml"
POLICIES = 10_000
SEED = 6


def shipped(attempt: int = 1) -> dict[tuple[float, float], SequentialTest]:
    """Every different test of ``gates/tabletop.yaml`` at this attempt: (threshold, margin) -> test."""
    gate = load_gate(GATE)
    pairs = sorted({(c.threshold, c.margin) for c in gate.checks_by_name().values() if c.threshold is not None})
    return {(t, m): design(t, m, alpha_spent(gate.alpha, attempt), gate.beta) for t, m in pairs}


def simulate(test: SequentialTest, p: float, rng: np.random.Generator, count: int = POLICIES) -> tuple[np.ndarray, ...]:
    """``count`` policies of success rate p: passed (count,) bool, and episodes used (count,)."""
    k = np.cumsum(rng.random((count, test.size), dtype=np.float32) < p, axis=1, dtype=np.int32)
    up, down = k >= np.array(test.upper[1:]), k <= np.array(test.lower[1:])
    stop = np.argmax(up | down, axis=1)
    return up[np.arange(count), stop], stop + 1
