"""Temporal ensemble: Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (ACT)."""

from __future__ import annotations

import numpy as np

DECAY = 0.01  # m of the paper: 0 gives all chunks the same weight, more trusts the oldest


def temporal_ensemble(rows: np.ndarray) -> np.ndarray:
    """(K, A) wishes for one control step, oldest chunk first -> (A,) mean, weights exp(-DECAY i), i = 0 the oldest."""
    weights = np.exp(-DECAY * np.arange(len(rows), dtype=np.float32))
    return (weights @ rows / weights.sum()).astype(np.float32)
