"""Motion primitives of the experts: where the gripper should be next, and the action that takes it there.

Every function is a function of the world's present state alone.  Base frame, metres, radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.world.world import World

MAX_STEP = 0.025  # metres per control period
MAX_TURN = 0.15  # radians per control period
HOVER = 0.13  # height of travel above the table without a load
OPEN, CLOSED = 0.0, 1.0


@dataclass(frozen=True)
class Intent:
    """What a skill wants now: pose of the finger-tip centre, gripper, and the two sub-goals (target, goal)."""

    xyz: np.ndarray  # (3,)
    yaw: float
    gripper: float  # 0 open, 1 closed
    target: np.ndarray  # (3,) what is to be grasped or touched now
    goal: np.ndarray  # (3,) where it goes


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """The angle in [-period / 2, period / 2)."""
    return float((angle + period / 2) % period - period / 2)


def limit(vector: np.ndarray, length: float) -> np.ndarray:
    """The vector, shortened to ``length`` where it is longer."""
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)


def funnel(world: World, point: np.ndarray, hover: float, inner: float = 0.006, outer: float = 0.03) -> np.ndarray:
    """Next position on the path to ``point`` from above: rise, travel at ``hover``, centre, then descend.

    The allowed height is a funnel around the point: ``point[2]`` within ``inner`` of its axis, ``hover`` beyond
    ``outer``.  Below the funnel the gripper rises before it travels.

    Args:
        point: (3,) end of the descent.
        hover: height of travel.
        inner, outer: radii of the funnel.

    Returns:
        (3,) position to go to now.
    """
    tip = world.ee_position
    offset = point[:2] - tip[:2]
    distance = float(np.linalg.norm(offset))
    fraction = np.clip((distance - inner) / (outer - inner), 0.0, 1.0)
    height = point[2] + fraction * max(hover - point[2], 0.0)
    travel = 1.0 - np.clip((height - tip[2]) / 0.04, 0.0, 1.0)
    return np.array([*(tip[:2] + travel * offset), height])


def servo(world: World, intent: Intent, gain: float = 0.3) -> np.ndarray:
    """The action (7,) that moves the commanded pose towards the intent: proportional, saturated at the limits.

    A gripper that is badly tilted turns upright before it travels.
    """
    action = np.zeros(7, dtype=np.float32)
    rotation = world.ee_rotation
    tilt = float(np.arccos(np.clip(-rotation[2, 2], -1.0, 1.0)))
    upright = np.clip((0.9 - tilt) / 0.5, 0.1, 1.0)
    action[:3] = limit(gain * (intent.xyz - world.command_position), MAX_STEP) * upright
    action[3:6] = limit(0.5 * turn(rotation, intent.yaw), MAX_TURN)
    action[6] = intent.gripper
    return action


def down(yaw: float) -> np.ndarray:
    """Rotation (3, 3) of a gripper that points down, turned by ``yaw`` about the base's z."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


def turn(rotation: np.ndarray, yaw: float) -> np.ndarray:
    """Rotation vector (3,) in the base frame from ``rotation`` (3, 3) to pointing down at ``yaw``."""
    error = down(yaw) @ rotation.T
    sine = 0.5 * np.array([error[2, 1] - error[1, 2], error[0, 2] - error[2, 0], error[1, 0] - error[0, 1]])
    norm = float(np.linalg.norm(sine))
    angle = float(np.arctan2(norm, 0.5 * (np.trace(error) - 1.0)))
    return sine if norm < 1e-9 else sine * (angle / norm)


def clear_height(
    world: World, start: np.ndarray, end: np.ndarray, obstacles: tuple[str, ...], reach: float = 0.06
) -> float:
    """Height that clears, by 2 cm, every obstacle within ``reach`` of the straight path from ``start`` to ``end``."""
    path = end[:2] - start[:2]
    squared_length = float(path @ path)
    height = 0.0
    for name in obstacles:
        centre = world.object_position(name)
        fraction = np.clip((centre[:2] - start[:2]) @ path / squared_length, 0.0, 1.0) if squared_length > 1e-9 else 0.0
        if np.linalg.norm(start[:2] + fraction * path - centre[:2]) < reach:
            half = float(np.abs(world.object_rotation(name)[2]) @ world.object_half_extents(name))
            height = max(height, float(centre[2]) + half + 0.02)
    return height
