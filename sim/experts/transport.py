"""Pick and place: one skill, and the destinations that it can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sim.experts.grasps import bottom, grasp_of, gripped, half_height
from sim.experts.motion import CLOSED, HOVER, OPEN, Intent, clear_height, funnel
from sim.tasks.predicates import BESIDE_SPOT, DIRECTIONS, LIFTED
from sim.world.world import TRAY_HALF, World

DROP = 0.006  # metres: an object may be released this far above the tray's floor
SLOTS = (
    (-0.035, 0.0),
    (0.035, 0.0),
    (0.0, 0.03),
    (0.0, -0.03),
)  # places of several objects, from the tray's centre


class Skill(Protocol):
    """A goal and the motion towards it, as functions of the world's present state."""

    def achieved(self, world: World) -> bool: ...

    def engaged(self, world: World) -> bool:
        """Whether the skill's object is in the gripper, so that this skill must continue."""

    def intent(self, world: World) -> Intent: ...


class Destination(Protocol):
    def spot(self, world: World, name: str) -> np.ndarray:
        """(3,) position of the object's centre when it has been set down."""

    def ready(self, world: World, name: str) -> bool:
        """Whether the object may be released where it is, or has been."""


@dataclass(frozen=True)
class InTray:
    slot: tuple[float, float]  # offset of the drop spot from the tray's centre
    others: tuple[str, ...]  # everything else that may lie in the tray

    def spot(self, world: World, name: str) -> np.ndarray:
        return world.tray() + np.array([*self.slot, half_height(world, name)])

    def ready(self, world: World, name: str) -> bool:
        if not inside_tray(world, name):
            return False
        supported = any(world.touching(name, other) for other in self.others)  # by objects in the tray
        return supported or bottom(world, name) < world.tray()[2] + DROP


def inside_tray(world: World, name: str, margin: float = 0.01) -> bool:
    offset = np.abs(world.object_position(name) - world.tray())
    return bool((offset[:2] < np.array(TRAY_HALF) - margin).all() and offset[2] < 0.08)


@dataclass(frozen=True)
class InDrawer:
    def spot(self, world: World, name: str) -> np.ndarray:
        centre, _ = world.drawer_interior()
        return np.array([centre[0], centre[1], centre[2] + half_height(world, name)])

    def ready(self, world: World, name: str) -> bool:
        centre, half = world.drawer_interior()
        offset = np.abs(world.object_position(name) - centre)
        return bool((offset[:2] < half[:2] - 0.02).all() and bottom(world, name) < centre[2] + 0.03)


@dataclass(frozen=True)
class OnObject:
    reference: str

    def spot(self, world: World, name: str) -> np.ndarray:
        below = world.object_position(self.reference)
        return below + np.array([0.0, 0.0, half_height(world, self.reference) + half_height(world, name)])

    def ready(self, world: World, name: str) -> bool:
        offset = world.object_position(name) - self.spot(world, name)
        return bool(np.linalg.norm(offset[:2]) < 0.012 and offset[2] < 0.005)


@dataclass(frozen=True)
class OnCabinet:
    def spot(self, world: World, name: str) -> np.ndarray:
        return world.cabinet_top()[0] + np.array([0.0, 0.0, half_height(world, name)])

    def ready(self, world: World, name: str) -> bool:
        centre, half = world.cabinet_top()
        offset = np.abs(world.object_position(name) - centre)
        return bool((offset[:2] < half - 0.03).all() and bottom(world, name) < centre[2] + DROP)


@dataclass(frozen=True)
class BesideObject:
    reference: str
    direction: str

    def spot(self, world: World, name: str) -> np.ndarray:
        reference = world.object_position(self.reference)
        return np.array(
            [*(reference[:2] + BESIDE_SPOT * np.array(DIRECTIONS[self.direction])), half_height(world, name)]
        )

    def ready(self, world: World, name: str) -> bool:
        offset = world.object_position(name) - self.spot(world, name)
        return bool(np.linalg.norm(offset[:2]) < 0.02 and offset[2] < 0.006)


@dataclass(frozen=True)
class Lift:
    """Grasp ``name``, raise it straight up and hold it there, for as long as the task lasts."""

    name: str
    shape: str
    obstacles: tuple[str, ...]  # every other object

    def achieved(self, world: World) -> bool:
        return False

    def engaged(self, world: World) -> bool:
        return gripped(world, self.name)

    def intent(self, world: World) -> Intent:
        centre = world.object_position(self.name)
        above = np.array([*centre[:2], LIFTED + 0.03])
        if gripped(world, self.name):
            rest = np.array([0.0, 0.0, above[2] - centre[2]])
            return Intent(world.ee_position + rest, world.ee_yaw, CLOSED, centre, above)
        return approach(world, self.name, self.shape, self.obstacles, above)


def approach(world: World, name: str, shape: str, obstacles: tuple[str, ...], goal: np.ndarray) -> Intent:
    """Move to the grasp of ``name`` from above and close there; ``goal`` (3,) is where the object goes."""
    tip, grasp = world.ee_position, grasp_of(world, name, shape)
    offset = grasp.point - tip
    close = bool(np.linalg.norm(offset[:2]) < 0.010 and abs(offset[2]) < 0.010)
    hover = max(HOVER, clear_height(world, tip, grasp.point, obstacles), grasp.top + 0.04)
    xyz = grasp.point if close else funnel(world, grasp.point, hover)
    return Intent(xyz, grasp.yaw, CLOSED if close else OPEN, world.object_position(name), goal)


@dataclass(frozen=True)
class Transport:
    """Pick ``name`` up and set it down at ``destination``."""

    name: str
    shape: str
    destination: Destination
    obstacles: tuple[str, ...]  # every other object

    def achieved(self, world: World) -> bool:
        if not self.destination.ready(world, self.name) or gripped(world, self.name):
            return False
        near = np.linalg.norm(world.ee_position - world.object_position(self.name)) < 0.05
        return bool(not near or world.gripper < 0.25)

    def engaged(self, world: World) -> bool:
        return gripped(world, self.name)

    def intent(self, world: World) -> Intent:
        centre = world.object_position(self.name)
        spot = self.destination.spot(world, self.name)
        if self.destination.ready(world, self.name):  # release; stay until the fingers are open
            return Intent(world.command_position, world.ee_yaw, OPEN, centre, spot)
        if gripped(world, self.name):
            return self._carry(world, centre, spot)
        return approach(world, self.name, self.shape, self.obstacles, spot)

    def _carry(self, world: World, centre: np.ndarray, spot: np.ndarray) -> Intent:
        tip = world.ee_position
        below = tip[2] - bottom(world, self.name)  # how far the object reaches below the finger tips
        point = spot + tip - centre
        hover = max(HOVER, point[2] + 0.02, clear_height(world, tip, point, self.obstacles) + below)
        return Intent(funnel(world, point, hover), 0.0, CLOSED, centre, spot)


@dataclass(frozen=True)
class PutDown:
    """Put down an object that should not be in the gripper: straight down until it touches something, then release."""

    name: str
    supports: tuple[str, ...]

    def achieved(self, world: World) -> bool:
        return not gripped(world, self.name)

    def engaged(self, world: World) -> bool:
        return gripped(world, self.name)

    def intent(self, world: World) -> Intent:
        centre, tip = world.object_position(self.name), world.ee_position
        rests = any(world.touching(self.name, support) for support in self.supports)
        xyz = world.command_position if rests else tip - np.array([0.0, 0.0, 0.02])
        return Intent(xyz, world.ee_yaw, OPEN if rests else CLOSED, centre, centre)


@dataclass(frozen=True)
class Gather:
    """Transport several objects, one after the other: the one in the gripper, else the nearest to the destination."""

    transports: tuple[Transport, ...]

    def achieved(self, world: World) -> bool:
        return all(t.achieved(world) for t in self.transports)

    def engaged(self, world: World) -> bool:
        return any(t.engaged(world) for t in self.transports)

    def intent(self, world: World) -> Intent:
        return min(self.transports, key=lambda t: self._rank(world, t)).intent(world)

    def _rank(self, world: World, transport: Transport) -> tuple[bool, bool, bool, float]:
        """Sort key: held first, then in place but not yet released, done last; then by distance."""
        name, destination = transport.name, transport.destination
        offset = world.object_position(name) - destination.spot(world, name)
        done, ready = transport.achieved(world), destination.ready(world, name)
        return not transport.engaged(world), done, not ready, float(np.linalg.norm(offset[:2]))
