"""Rotation vectors (3,) in the base frame, and unit quaternions (4,) wxyz."""

from __future__ import annotations

import mujoco
import numpy as np


def rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(3,) rotation vector in the base frame that turns ``start`` into ``end`` (both wxyz)."""
    local, vector = np.empty(3), np.empty(3)
    mujoco.mju_subQuat(local, end, start)
    mujoco.mju_rotVecQuat(vector, local, start)
    return vector


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(4,) ``quaternion``, rotated by a rotation vector (3,) in the base frame."""
    result, step = np.empty(4), np.array([1.0, 0.0, 0.0, 0.0])
    mujoco.mju_quatIntegrate(step, vector, 1.0)
    mujoco.mju_mulQuat(result, step, quaternion)
    return result


def clip_norm(vector: np.ndarray, longest: float) -> np.ndarray:
    """The vector, scaled down to the norm ``longest`` where it is longer."""
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
