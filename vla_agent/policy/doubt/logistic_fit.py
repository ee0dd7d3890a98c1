"""The logistic function of a calibration.  Imports no torch."""

from __future__ import annotations

import numpy as np


def fit_logistic(fits: np.ndarray, absent: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the logistic function that tells absent (n,) pairs from their log-probabilities (n,).

    Newton's method with Platt's targets, which keep a finite slope where the two do not overlap.
    """
    positive, negative = float(absent.sum()), float((~absent).sum())
    target = np.where(absent, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs, weights = np.stack([fits, np.ones_like(fits)], 1).astype(np.float64), np.zeros(2)
    for _ in range(steps):
        found = 1 / (1 + np.exp(-(inputs @ weights).clip(-500, 500)))
        gradient = inputs.T @ (found - target)
        hessian = inputs.T @ (inputs * (found * (1 - found))[:, None]) + 1e-6 * np.eye(2)
        weights = weights - np.linalg.solve(hessian, gradient).clip(-2.0, 2.0)
    return float(weights[0]), float(weights[1])
