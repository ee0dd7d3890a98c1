"""Blending the rows of several chunks for one control step into one action: one function a mode.

Each takes rows (K, A), oldest chunk first, and returns the action (A,).
"""

from __future__ import annotations

import numpy as np

DECAY = 0.01  # m of ACT: 0 weights all chunks alike; larger values favour the oldest
SHARPNESS = 0.1  # alpha of CogACT


def newest(rows: np.ndarray) -> np.ndarray:
    """Open loop and real-time chunking: the newest chunk's row."""
    return rows[-1]


def temporal_ensemble(rows: np.ndarray) -> np.ndarray:
    """The mean with weights exp(-DECAY i), i = 0 the oldest.

    Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (ACT).
    """
    weights = np.exp(-DECAY * np.arange(len(rows), dtype=np.float32))
    return (weights @ rows / weights.sum()).astype(np.float32)


def adaptive_ensemble(rows: np.ndarray) -> np.ndarray:
    """The mean with weights exp(SHARPNESS cos(row, newest)).  Li et al. 2024, "CogACT".

    The mean of two paths around an obstacle goes through it: a row of another mode gets less weight.
    """
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(rows[-1])
    cosine = np.where(length > 0, rows @ rows[-1] / np.maximum(length, 1e-12), 0.0)
    weights = np.exp(SHARPNESS * cosine)
    return (weights @ rows / weights.sum()).astype(np.float32)
