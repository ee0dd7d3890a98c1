"""From the rows that several chunks have for one control step to one action: one function a mode.

Each takes rows (K, A), oldest chunk first, and gives the action (A,).
"""

from __future__ import annotations

import numpy as np

DECAY = 0.01  # m of ACT: 0 gives all chunks the same weight, more trusts the oldest
SHARPNESS = 0.1  # alpha of CogACT


def newest(rows: np.ndarray) -> np.ndarray:
    """Open loop and real-time chunking: the newest chunk's row; the next chunk replaces it when it comes."""
    return rows[-1]


def temporal_ensemble(rows: np.ndarray) -> np.ndarray:
    """The mean with weights exp(-DECAY i), i = 0 the oldest.

    Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (ACT).
    """
    weights = np.exp(-DECAY * np.arange(len(rows), dtype=np.float32))
    return (weights @ rows / weights.sum()).astype(np.float32)


def adaptive_ensemble(rows: np.ndarray) -> np.ndarray:
    """The mean with weights exp(SHARPNESS cos(row, newest)).  Li et al. 2024, "CogACT".

    A mean of two ways round an obstacle goes through it: a row of another mode points elsewhere and counts less.
    """
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(rows[-1])
    cosine = np.where(length > 0, rows @ rows[-1] / np.maximum(length, 1e-12), 0.0)
    weights = np.exp(SHARPNESS * cosine)
    return (weights @ rows / weights.sum()).astype(np.float32)
