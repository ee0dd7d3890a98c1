"""Adaptive ensemble: Li et al. 2024, "CogACT".  Wishes that disagree with the newest one count less.

An average of two ways round an obstacle goes through it: a chunk of another mode points elsewhere, and is left behind.
"""

from __future__ import annotations

import numpy as np

SHARPNESS = 0.1  # alpha of the paper


def adaptive_ensemble(rows: np.ndarray) -> np.ndarray:
    """(K, A) wishes for one control step, oldest chunk first -> (A,) mean, weights exp(SHARPNESS cos(wish, newest))."""
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(rows[-1])
    cosine = np.where(length > 0, rows @ rows[-1] / np.maximum(length, 1e-12), 0.0)
    weights = np.exp(SHARPNESS * cosine)
    return (weights @ rows / weights.sum()).astype(np.float32)
