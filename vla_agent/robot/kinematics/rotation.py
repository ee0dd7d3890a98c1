"""Rotations of the base frame as vectors (3,), and unit quaternions (4,) wxyz turned by them."""

from __future__ import annotations

import mujoco
import numpy as np


def rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(3,) rotation vector in the base frame that turns ``start`` into ``end`` (both wxyz)."""
    local, vector = np.empty(3), np.empty(3)
    mujoco.mju_subQuat(local, end, start)
    mujoco.mju_rotVecQuat(vector, local, start)
    return vector


def turn(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(4,) ``quaternion`` turned by a rotation vector (3,) of the base frame."""
    result, step = np.empty(4), np.array([1.0, 0.0, 0.0, 0.0])
    mujoco.mju_quatIntegrate(step, vector, 1.0)
    mujoco.mju_mulQuat(result, step, quaternion)
    return result


def shortened(vector: np.ndarray, longest: float) -> np.ndarray:
    """The vector, at most ``longest`` long."""
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
