"""What happened in an episode, tracked from the simulator's state: what was moved, lifted, released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.tasks.predicates import holds

# Kind of motion by goal predicate; all others: "carry".
KINDS = {"pressed": "button", "open": "drawer", "closed": "drawer", "at": "push"}


@dataclass(frozen=True)
class ObjectEvents:
    """One movable object.  Metres, of its centre."""

    moved: float  # farthest horizontal distance from where it started
    lifted: float  # greatest height gained while held by both fingers, 0 if never held
    held_at_end: bool
    fell: float  # height lost between the last moment it was held and the end, 0 if never held or still held
    touched_at_end: bool  # by the gripper
    in_zone: str | None  # colour of the zone that it lies in at the end


@dataclass(frozen=True)
class Events:
    """One episode."""

    kind: str  # "carry", "push", "drawer" or "button"
    targets: tuple[str, ...]  # names of the objects that the goal moves, in the goal's order
    done: tuple[str, ...]  # the targets whose part of the goal holds at the end
    objects: dict[str, ObjectEvents]
    buttons: tuple[str, ...]  # colours of the buttons that were pressed
    goal_colours: tuple[str, ...]  # colours of the buttons or zones that the goal names
    drawer: tuple[float, float]  # opening (0 to 1) at the start, and the largest change from it (signed)


class EventTracker:
    """Tracks one episode; call ``update`` after every control step."""

    def __init__(self, world: Any, task: Any) -> None:
        self._world, self._task = world, task
        self._names = [o.name for o in task.scene.objects]
        self._start = self._positions()
        self._moved = np.zeros(len(self._names))
        self._lifted = np.zeros(len(self._names))
        self._held_height = np.full(len(self._names), np.nan)
        self._drawer = float(world.drawer_opening())
        self._drawer_change = 0.0

    def _positions(self) -> np.ndarray:
        return np.array([self._world.object_position(n) for n in self._names]).reshape(-1, 3)

    def update(self) -> None:
        world, positions = self._world, self._positions()
        offset = positions - self._start
        self._moved = np.maximum(self._moved, np.hypot(offset[:, 0], offset[:, 1]))
        change = float(world.drawer_opening()) - self._drawer
        self._drawer_change = max(self._drawer_change, change, key=abs)
        if world.gripper > 0.02:  # nothing can be held by open fingers
            near = np.linalg.norm(positions - world.ee_position, axis=1) < 0.12
            for i in np.flatnonzero(near):
                if world.held(self._names[i]):
                    self._lifted[i] = max(self._lifted[i], offset[i, 2])
                    self._held_height[i] = positions[i, 2]

    def events(self) -> Events:
        world, task, positions = self._world, self._task, self._positions()
        objects = {}
        for i, name in enumerate(self._names):
            held = bool(world.held(name))
            fell = 0.0 if held or np.isnan(self._held_height[i]) else self._held_height[i] - positions[i, 2]
            zone = (z.colour for z in task.scene.zones if np.abs(positions[i, :2] - z.xy).max() < z.half)
            objects[name] = ObjectEvents(
                moved=round(float(self._moved[i]), 4),
                lifted=round(float(self._lifted[i]), 4),
                held_at_end=held,
                fell=round(float(fell), 4),
                touched_at_end=bool(world.touching(name, "gripper")),
                in_zone=next(zone, None),
            )
        goal = tuple(task.goal)
        kind = KINDS.get(goal[0].name, "carry")
        movers = [p for p in goal if p.args[0] in objects]
        return Events(
            kind=kind,
            targets=tuple(dict.fromkeys(p.args[0] for p in movers)),
            done=tuple(dict.fromkeys(p.args[0] for p in movers if holds(p, world))),
            objects=objects,
            buttons=tuple(b.colour for b in task.scene.buttons if world.button_pressed(b.colour)),
            goal_colours=tuple(a for p in goal if p.name in ("pressed", "at") for a in p.args[-1:]),
            drawer=(round(self._drawer, 4), round(self._drawer_change, 4)),
        )
