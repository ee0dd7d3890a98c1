"""Skills that touch without lifting: push to a zone, pull and push the drawer, press a button."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.experts.grasps import width
from sim.experts.motion import CLOSED, HOVER, OPEN, Intent, clear_height, funnel, wrap
from sim.world.world import DRAWER_TRAVEL, World

PUSH_HEIGHT = 0.02  # finger-tip height while pushing, metres
PUSH_AHEAD = 0.03  # how far ahead of itself the gripper is commanded, metres: sets the speed
FINGER = 0.012  # half the closed fingers' extent, metres


@dataclass(frozen=True)
class Push:
    """Push ``name`` along the table until its centre is well inside the zone."""

    name: str
    colour: str
    obstacles: tuple[str, ...]
    inside: float = 0.018  # metres between the object's and the zone's centre that count as inside

    def achieved(self, world: World) -> bool:
        return bool(np.linalg.norm(self._offset(world)[0]) < self.inside)

    def engaged(self, world: World) -> bool:
        return False

    def _offset(self, world: World) -> tuple[np.ndarray, np.ndarray, float]:
        """Offset (2,) to the zone, its unit vector, and the object's half extent along it."""
        offset = np.asarray(world.zone(self.colour).xy) - world.object_position(self.name)[:2]
        unit = offset / max(float(np.linalg.norm(offset)), 1e-6)
        return offset, unit, width(world, self.name, float(np.arctan2(-unit[0], unit[1]))) / 2

    def intent(self, world: World) -> Intent:
        centre, tip = world.object_position(self.name), world.ee_position
        offset, unit, half = self._offset(world)
        goal = np.array([*world.zone(self.colour).xy, centre[2]])
        yaw = face_yaw(unit, world.ee_yaw)
        relative = tip[:2] - centre[:2]
        along = float(relative @ unit)
        across = relative - along * unit
        if along < -0.015 and np.linalg.norm(across) < 0.018 and tip[2] < PUSH_HEIGHT + 0.015:  # low and behind: push
            ahead = min(PUSH_AHEAD, float(np.linalg.norm(offset)) + 0.01)
            return Intent(np.array([*(tip[:2] + unit * ahead - 2.0 * across), PUSH_HEIGHT]), yaw, CLOSED, centre, goal)
        start = np.array([*(centre[:2] - unit * (half + FINGER + 0.025)), PUSH_HEIGHT])
        hover = max(HOVER, clear_height(world, tip, start, (*self.obstacles, self.name)))
        return Intent(funnel(world, start, hover), yaw, CLOSED, centre, goal)


def face_yaw(direction: np.ndarray, present: float) -> float:
    """Yaw that turns a flat side of the closed fingers towards ``direction`` (2,), with the least turning."""
    angle = float(np.arctan2(direction[1], direction[0]))
    candidates = [wrap(angle + k * np.pi / 2) for k in range(4)]
    return min(candidates, key=lambda yaw: abs(yaw) + abs(yaw - present))


@dataclass(frozen=True)
class PullDrawer:
    """Grasp the handle's bar from above and pull along x."""

    obstacles: tuple[str, ...]
    opening: float = 0.95

    def achieved(self, world: World) -> bool:
        return world.drawer_opening() > self.opening

    def engaged(self, world: World) -> bool:
        return False

    def intent(self, world: World) -> Intent:
        handle, tip = world.drawer_handle(), world.ee_position
        goal = handle + np.array([(1.0 - world.drawer_opening()) * DRAWER_TRAVEL, 0.0, 0.0])
        offset = handle - tip
        if np.abs(offset[:2]).max() < 0.014 and abs(offset[2]) < 0.015:
            pull = np.clip((world.gripper - 0.6) / 0.1, 0.0, 1.0)  # the closed fingers measure about 0.8
            xyz = handle + np.array([min(0.05 * pull, goal[0] - handle[0] + 0.01), 0.0, 0.0])
            return Intent(xyz, 0.0, CLOSED, handle, goal)
        hover = max(HOVER, clear_height(world, tip, handle, self.obstacles))
        return Intent(funnel(world, handle, hover), 0.0, OPEN, handle, goal)


@dataclass(frozen=True)
class PushDrawer:
    """Move in front of the handle with the gripper closed and push along -x."""

    obstacles: tuple[str, ...]
    opening: float = 0.03

    def achieved(self, world: World) -> bool:
        return world.drawer_opening() < self.opening

    def engaged(self, world: World) -> bool:
        return False

    def intent(self, world: World) -> Intent:
        handle, tip = world.drawer_handle(), world.ee_position
        goal = handle - np.array([world.drawer_opening() * DRAWER_TRAVEL, 0.0, 0.0])
        offset = tip - handle
        if offset[0] > 0.008 and abs(offset[1]) < 0.018 and abs(offset[2]) < 0.02:
            xyz = np.array([handle[0] - 0.005, handle[1], handle[2]])
            return Intent(xyz, 0.0, CLOSED, handle, goal)
        start = handle + np.array([0.045, 0.0, 0.0])
        hover = max(HOVER, clear_height(world, tip, start, self.obstacles))
        return Intent(funnel(world, start, hover), 0.0, CLOSED, handle, goal)


@dataclass(frozen=True)
class Press:
    colour: str
    obstacles: tuple[str, ...]

    def achieved(self, world: World) -> bool:
        return world.button_pressed(self.colour)

    def engaged(self, world: World) -> bool:
        return False

    def intent(self, world: World) -> Intent:
        top = world.button_position(self.colour)
        point = top - np.array([0.0, 0.0, 0.02])
        hover = max(HOVER, clear_height(world, world.ee_position, point, self.obstacles))
        return Intent(funnel(world, point, hover), 0.0, CLOSED, top, top)
