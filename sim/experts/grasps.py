"""Where and how an object is grasped from above, from its pose and size.  Base frame, metres, radians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.experts.motion import wrap
from sim.world.world import World

ROUND = frozenset({"cylinder", "ball", "bottle", "pear", "cup"})  # any yaw grasps them


@dataclass(frozen=True)
class Grasp:
    """Finger-tip centre and yaw to close at, and the height of the object's top."""

    point: np.ndarray  # (3,)
    yaw: float
    top: float


def half_height(world: World, name: str) -> float:
    """Half the object's vertical extent in its present orientation."""
    return float(np.abs(world.object_rotation(name)[2]) @ world.object_half_extents(name))


def bottom(world: World, name: str) -> float:
    """Height of the object's lowest point above the base's plane."""
    return float(world.object_position(name)[2]) - half_height(world, name)


def width(world: World, name: str, yaw: float) -> float:
    """Extent of the object along the closing direction of a gripper at ``yaw`` (it closes along y at yaw 0)."""
    direction = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    return float(2.0 * np.abs(direction @ world.object_rotation(name)) @ world.object_half_extents(name))


def grasp_yaw(world: World, name: str, shape: str) -> float:
    """The yaw that closes across the narrow side; among equals the one nearest to the present yaw."""
    rotation = world.object_rotation(name)
    if shape in ROUND and rotation[2, 2] > 0.8:
        return 0.0
    level = [axis for axis in range(3) if np.hypot(rotation[0, axis], rotation[1, axis]) > 0.5]
    angles = [float(np.arctan2(rotation[1, a], rotation[0, a])) for a in level]
    candidates = {wrap(angle + turn, np.pi) for angle in angles for turn in (0.0, np.pi / 2)}
    candidates |= {yaw - np.sign(yaw) * np.pi for yaw in candidates if abs(yaw) > 1.3}

    def cost(yaw: float) -> float:
        return 40.0 * width(world, name, yaw) + 0.5 * abs(yaw) + 0.5 * abs(yaw - world.ee_yaw)

    return min(candidates, key=cost)


def grasp_of(world: World, name: str, shape: str) -> Grasp:
    """The grasp of an object where it is now."""
    centre = world.object_position(name)
    half = half_height(world, name)
    height = max(centre[2], centre[2] + half - 0.035) if half > 0.035 else centre[2]
    point = np.array([centre[0], centre[1], max(height, centre[2] - half + 0.012)])
    return Grasp(point, grasp_yaw(world, name, shape), float(centre[2] + half))


def gripped(world: World, name: str) -> bool:
    """Touched by both finger pads, and between them (closed fingers that push also touch)."""
    return world.held(name) and world.gripper < 0.9
