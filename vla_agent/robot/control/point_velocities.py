"""Velocities at the points of a trajectory, for controllers that interpolate with cubic splines."""

from __future__ import annotations

import numpy as np


def point_velocities(start: np.ndarray, path: np.ndarray, period: float) -> np.ndarray:
    """(N, J) rad/s: velocity at each row of ``path`` (N, J) rad, one a ``period`` (s), after ``start`` (J,) rad.

    At each point it is the harmonic mean of the mean velocities before and after it, and zero where the joint turns
    round or rests, so that a cubic spline through the points leaves the range of no two neighbours: what was checked at
    the points holds between them, too.  The last point rests: its velocity is zero.
    """
    slopes = np.diff(np.vstack([start, path]), axis=0) / period
    velocities = np.zeros_like(slopes)
    before, after = slopes[:-1], slopes[1:]
    same = before * after > 0
    sums = np.where(same, before + after, 1.0)
    velocities[:-1] = np.where(same, 2 * before * after / sums, 0.0)
    return velocities
