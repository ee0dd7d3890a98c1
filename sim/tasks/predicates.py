"""Goal predicates: a small language over the state of the world, such as ``in(target, tray) and in(second, tray)``.

A goal is a conjunction.  `parse` reads the text, `ground` replaces roles and choices by the scene's object names and
chosen colours, `holds` evaluates a predicate in a world (or in a `SceneView`: the scene as laid out, without physics).
Nothing is evaluated as code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import hypot

import numpy as np

from sim.tasks.suggestions import suggest
from sim.world.scene import CABINET_HALF, CABINET_HEIGHT, COLOURS, Scene
from vla_agent.errors import TaskError

# Argument kinds: role = an object of the task, support = a role or the cabinet, container, drawer, and
# colour/direction/zone = a choice or a literal.
SIGNATURES: dict[str, tuple[str, ...]] = {
    "in": ("role", "container"),
    "all_in": ("colour", "container"),
    "on": ("role", "support"),
    "at": ("role", "zone"),
    "lifted": ("role",),
    "beside": ("role", "role", "direction"),
    "left_of": ("role", "role"),
    "right_of": ("role", "role"),
    "in_front_of": ("role", "role"),
    "open": ("drawer",),
    "closed": ("drawer",),
    "pressed": ("colour",),
}
CONTAINERS = ("tray", "drawer")
# As in the front camera's image: unit vectors (x, y) in the base frame.
DIRECTIONS: dict[str, tuple[float, float]] = {"left of": (0.0, -1.0), "right of": (0.0, 1.0), "in front of": (1.0, 0.0)}

OPEN, CLOSED = 0.8, 0.1  # drawer opening, fraction of its travel
BESIDE = (0.04, 0.17)  # least and largest distance between centres, metres
BESIDE_SPOT = 0.10  # where `place: {beside: ...}` puts an object, metres from the reference
LOW = 0.10  # an object is in a container when its centre is less than this above the floor, metres
LIFTED = 0.25  # centre height from which an object in the gripper counts as lifted, metres; experts carry lower
ON_TABLE = 0.11  # an object whose centre is below this can stand on the table, metres


@dataclass(frozen=True)
class Predicate:
    """``name(*args)``."""

    name: str
    args: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.args)})"


def parse(
    text: str, roles: Mapping[str, object], choices: Mapping[str, object], *, file: str, key: str
) -> tuple[Predicate, ...]:
    """Read ``p(a, b) and q(c)``.

    Args:
        roles: names of the task's objects.
        choices: names of the task's choices (``colour``, ``zone``, ``direction``, ...).

    Raises:
        TaskError: unknown predicate, wrong number of arguments or unknown argument.
    """
    predicates = []
    for part in re.split(r"\s+and\s+", text.strip()):
        match = re.fullmatch(r"(\w+)\s*\(([^()]*)\)", part)
        if not match:
            raise TaskError(
                "the expression cannot be read",
                file=file,
                key=key,
                expected="name(argument, ...) joined by 'and'; names: " + ", ".join(SIGNATURES),
                found=part,
                remedy="write for instance: in(target, tray) and closed(drawer)",
            )
        name, args = match[1], tuple(a.strip() for a in match[2].split(","))
        if name not in SIGNATURES:
            raise TaskError(
                "there is no such predicate",
                file=file,
                key=key,
                expected=", ".join(SIGNATURES),
                found=name,
                remedy=suggest(name, SIGNATURES),
            )
        kinds = SIGNATURES[name]
        if len(args) != len(kinds):
            raise TaskError(
                "the predicate has the wrong number of arguments",
                file=file,
                key=key,
                expected=f"{name}({', '.join(kinds)})",
                found=part,
                remedy=f"give {len(kinds)} argument{'s' if len(kinds) > 1 else ''}",
            )
        for arg, kind in zip(args, kinds, strict=True):
            check_argument(arg, kind, roles, choices, file=file, key=key)
        predicates.append(Predicate(name, args))
    return tuple(predicates)


def check_argument(
    arg: object, kind: str, roles: Mapping[str, object], choices: Mapping[str, object], *, file: str, key: str
) -> None:
    """Raise `TaskError` unless ``arg`` is a valid name of this kind."""
    valid = {
        "role": list(roles),
        "support": [*roles, "cabinet"],
        "container": list(CONTAINERS),
        "drawer": ["drawer"],
        "colour": [*choices, *COLOURS],
        "zone": [*choices, *COLOURS],
        "direction": [*choices, *DIRECTIONS],
    }[kind]
    if arg not in valid:
        raise TaskError(
            f"there is no such {kind}",
            file=file,
            key=key,
            expected=", ".join(valid) or f"the task declares no {kind}",
            found=arg,
            remedy=suggest(arg, valid),
        )


def ground(
    predicates: tuple[Predicate, ...], scene: Scene, roles: Mapping[str, str], choices: Mapping[str, str]
) -> tuple[Predicate, ...]:
    """Replace roles and choices by the scene's object names and chosen words; ``all_in`` becomes one ``in`` each."""
    names = {**choices, **roles}
    grounded: list[Predicate] = []
    for p in predicates:
        args = tuple(names.get(a, a) for a in p.args)
        if p.name == "all_in":
            grounded += [Predicate("in", (o.name, args[1])) for o in scene.objects if o.colour == args[0]]
        elif p.name in ("left_of", "right_of", "in_front_of"):
            grounded.append(Predicate("beside", (*args, p.name.replace("_", " "))))
        else:
            grounded.append(Predicate(p.name, args))
    return tuple(dict.fromkeys(grounded))


def holds(predicate: Predicate, world) -> bool:  # noqa: ANN001 - World or SceneView
    """Whether a grounded predicate is true now.  ``world``: `sim.world.world.World` or `SceneView`."""
    return bool(_TESTS[predicate.name](world, *predicate.args))


def _in(world, name: str, container: str) -> bool:  # noqa: ANN001
    """Centre inside the inner rectangle and low, and released."""
    if container == "tray":
        centre, half = np.asarray(world.tray()), world.TRAY_HALF
    else:
        centre, half = world.drawer_interior()
    offset = np.asarray(world.object_position(name)) - centre
    inside = abs(offset[0]) <= half[0] and abs(offset[1]) <= half[1] and -0.03 < offset[2] < LOW
    return bool(inside) and not world.held(name)


def _on_table(world, name: str) -> bool:  # noqa: ANN001
    """Resting on the table itself, released."""
    return world.object_position(name)[2] < ON_TABLE and not world.held(name) and world.touching(name, "table")


def _beside(world, name: str, reference: str, direction: str) -> bool:  # noqa: ANN001
    """Offset within 45 degrees of the direction, 4 to 17 cm between centres, both on the table, released."""
    dx, dy = (np.asarray(world.object_position(name)) - world.object_position(reference))[:2]
    return (
        in_direction(dx, dy, direction)
        and BESIDE[0] <= hypot(dx, dy) <= BESIDE[1]
        and _on_table(world, name)
        and _on_table(world, reference)
    )


def in_direction(dx: float, dy: float, direction: str) -> bool:
    """Whether the offset (metres, base frame) lies within 45 degrees of the direction."""
    ux, uy = DIRECTIONS[direction]
    along = dx * ux + dy * uy
    return along > 0 and abs(dx * uy - dy * ux) <= along


def _on(world, name: str, reference: str) -> bool:  # noqa: ANN001
    """Above the reference, in contact with it and not with the table, released."""
    if reference == "cabinet":
        centre, half = world.cabinet_top()
        offset = np.abs(np.asarray(world.object_position(name)) - centre)
        return bool((offset[:2] <= half).all() and not world.held(name) and world.touching(name, "cabinet"))
    offset = np.asarray(world.object_position(name)) - world.object_position(reference)
    half = world.object_half_extents(reference)
    return bool(
        offset[2] > 0.5 * half[2]
        and hypot(offset[0], offset[1]) <= max(half[0], half[1]) + 0.01
        and not world.held(name)
        and world.touching(name, reference)
        and not world.touching(name, "table")
    )


def _at(world, name: str, colour: str) -> bool:  # noqa: ANN001
    """Centre inside the zone's square, released."""
    zone = next((zone for zone in world.scene.zones if zone.colour == colour), None)
    if zone is None:
        return False
    x, y, z = world.object_position(name)
    inside = abs(x - zone.xy[0]) <= zone.half and abs(y - zone.xy[1]) <= zone.half and z < ON_TABLE
    return bool(inside) and not world.held(name)


_TESTS: dict[str, Callable[..., bool]] = {
    "in": _in,
    "on": _on,
    "at": _at,
    "beside": _beside,
    "lifted": lambda world, name: bool(world.held(name) and world.object_position(name)[2] >= LIFTED),
    "open": lambda world, _: world.drawer_opening() >= OPEN,
    "closed": lambda world, _: world.drawer_opening() <= CLOSED,
    "pressed": lambda world, colour: bool(world.button_pressed(colour)),
}


class SceneView:
    """What predicates read of a `World`, from a scene as laid out, without physics: for checks at sampling time."""

    TRAY_HALF = (0.075, 0.065)  # as in sim/world/world.py, which needs MuJoCo

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._objects = {o.name: o for o in scene.objects}

    def object_position(self, name: str) -> np.ndarray:
        o = self._objects[name]
        z = 0.02 if o.on in ("table", *CONTAINERS) else self.object_position(o.on)[2] + 0.04
        return np.array([*o.xy, z])

    def object_half_extents(self, name: str) -> np.ndarray:
        return np.full(3, 0.02)

    def held(self, name: str) -> bool:
        return False

    def touching(self, a: str, b: str) -> bool:
        return self._objects[a].on == b

    def tray(self) -> np.ndarray:
        return np.array([*self.scene.tray_xy, 0.0])

    def drawer_interior(self) -> tuple[np.ndarray, tuple[float, float]]:
        x, y = self.scene.cabinet_xy
        return np.array([x + 0.004 + 0.13 * self.scene.drawer_open, y, 0.0]), (0.061, 0.055)

    def drawer_opening(self) -> float:
        return self.scene.drawer_open

    def cabinet_top(self) -> tuple[np.ndarray, tuple[float, float]]:
        return np.array([*self.scene.cabinet_xy, CABINET_HEIGHT]), CABINET_HALF

    def button_pressed(self, colour: str) -> bool:
        return False
