"""Scene layout for a task family: what stands where.  All random numbers come from the caller's generator."""

from __future__ import annotations

from itertools import product
from math import hypot, pi

import numpy as np

from sim.tasks.predicates import BESIDE_SPOT, DIRECTIONS
from sim.tasks.task_file import FamilySpec, ObjectSpec
from sim.world.scene import COLOURS, MIN_GAP, OBJECT_REGION, SHAPES, Button, Object, Scene, Start, Zone

SPLITS = ("seen", "wordings", "objects")

# (colour, shape) pairs that training never shows.  Each colour and each shape still occurs in training.
HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "cube"),
        ("red", "ball"),
        ("green", "mug"),
        ("blue", "star"),
        ("blue", "mug"),
        ("yellow", "cylinder"),
        ("purple", "block"),
        ("orange", "cup"),
        ("white", "bottle"),
        ("black", "pear"),
    }
)
ALL_PAIRS = tuple(product(COLOURS, SHAPES))

TRAY, CABINET = (0.50, 0.265), (0.37, -0.275)
BUTTONS = ((0.705, -0.13), (0.705, 0.0), (0.705, 0.13))
ZONES = ((0.33, -0.07), (0.33, 0.08))
REACH_MARGIN = 0.015  # a goal position may lie this far outside the objects' region, metres
LANE_BACK, LANE_WIDTH = 0.085, 0.075  # free room behind a pushed object and beside its path, metres
YAW = {
    "cube": 25 * pi / 180,
    "block": 25 * pi / 180,
    "star": 25 * pi / 180,
}  # largest yaw, rad; others take any
ATTEMPTS = 40  # positions tried for one object


class NoLayout(Exception):
    """These random draws leave no room or no pair; the caller draws again."""


def lay_out(spec: FamilySpec, rng: np.random.Generator, split: str) -> tuple[Scene, dict[str, str]]:
    """A scene and the values of the family's choices (``{"zone": "red"}``).

    Raises:
        NoLayout: no room, or no (colour, shape) pair left, with these draws.
    """
    colours = list(COLOURS)
    buttons = tuple(
        Button(colours[c], _near(xy, 0.015, rng)) for c, xy in zip(rng.permutation(8), BUTTONS, strict=False)
    )
    zones = tuple(Zone(colours[c], _near(xy, 0.015, rng)) for c, xy in zip(rng.permutation(8), ZONES, strict=False))
    sources = {"buttons": [b.colour for b in buttons], "zones": [z.colour for z in zones], "objects": colours}
    choices = {}
    for name, source in spec.choose.items():
        values = sources.get(source[0], source)
        choices[name] = values[rng.integers(len(values))]
    pairs = _pairs(spec, choices, rng, split)
    places = _places(spec, list(pairs), choices, zones, rng)
    objects = tuple(
        Object(name, shape, colour, places[name], _uniform(rng, (-YAW.get(shape, pi), YAW.get(shape, pi))))
        for name, (colour, shape) in pairs.items()
    )
    scene = Scene(
        objects,
        buttons,
        zones,
        tray_xy=_near(TRAY, 0.015, rng),
        cabinet_xy=_near(CABINET, 0.01, rng),
        drawer_open=_drawer(spec, rng),
        start=Start(
            (_uniform(rng, (0.35, 0.62)), _uniform(rng, (-0.22, 0.22)), _uniform(rng, (0.12, 0.30))),
            yaw=_uniform(rng, (-0.2, 0.2)),
            gripper=0.0 if rng.random() < 0.7 else _uniform(rng, (0.0, 0.6)),
        ),
    )
    return scene, choices


def _uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(rng.uniform(*limits))


def _near(xy: tuple[float, float], spread: float, rng: np.random.Generator) -> tuple[float, float]:
    return (xy[0] + float(rng.uniform(-spread, spread)), xy[1] + float(rng.uniform(-spread, spread)))


def _drawer(spec: FamilySpec, rng: np.random.Generator) -> float:
    """Opening of the drawer; where it does not matter: closed, open or between."""
    if spec.start.drawer_open is not None:
        return _uniform(rng, spec.start.drawer_open)
    kind = rng.random()
    return 0.0 if kind < 0.4 else 1.0 if kind < 0.7 else float(rng.random())


def _pairs(
    spec: FamilySpec, choices: dict[str, str], rng: np.random.Generator, split: str
) -> dict[str, tuple[str, str]]:
    """Object name -> (colour, shape), all different."""
    allowed = [p for p in ALL_PAIRS if p not in HELD_OUT_PAIRS]
    held_out = sorted(HELD_OUT_PAIRS)
    found: dict[str, tuple[str, str]] = {}
    for role, o in spec.objects.items():
        pool = held_out if split == "objects" and not found else allowed
        found[role] = _pick([p for p in pool if p not in found.values() and allows(o, p, choices)], rng)
    pool = held_out if split == "objects" and not found else allowed
    banned = {choices[c] for c in spec.distractors.not_colours}
    pool = [p for p in pool if p[0] not in banned]
    low, high = spec.distractors.count
    shared: list[str] = []  # what the next distractors share with the first object, so that both its words matter
    if found:
        target = next(iter(found.values()))
        shared = ["colour", "shape"] if rng.random() < 0.55 else []
    for k in range(int(rng.integers(low, high + 1))):
        free = [p for p in pool if p not in found.values()]
        if shared:
            index = 0 if shared.pop(int(rng.integers(len(shared)))) == "colour" else 1
            free = [p for p in free if p[index] == target[index]] or free
        found[f"distractor{k + 1}"] = _pick(free, rng)
    return found


def allows(o: ObjectSpec, pair: tuple[str, str], choices: dict[str, str] | None = None) -> bool:
    """Whether a role allows this (colour, shape) pair; without ``choices``, a chosen colour may be any."""
    colours = [choices[c] if choices and c in choices else c for c in o.colours]
    any_colour = "all" in colours or any(c not in COLOURS for c in colours)
    return (any_colour or pair[0] in colours) and ("all" in o.shapes or pair[1] in o.shapes)


def _pick(pairs: list[tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    if not pairs:
        raise NoLayout
    return pairs[rng.integers(len(pairs))]


def _places(
    spec: FamilySpec,
    names: list[str],
    choices: dict[str, str],
    zones: tuple[Zone, ...],
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """Object name -> xy: centres at least `MIN_GAP` apart, the room of ``start.free`` clear."""
    spots = {
        r["beside"]: DIRECTIONS[choices.get(r["direction"], r["direction"])] for r in spec.start.free if "beside" in r
    }
    lanes = {r["lane"]: choices.get(r["to"], r["to"]) for r in spec.start.free if "lane" in r}
    taken: list[tuple[float, float]] = []
    paths: list[tuple[tuple[float, float], tuple[float, float]]] = []
    found: dict[str, tuple[float, float]] = {}
    for name in sorted(names, key=lambda n: n not in spots and n not in lanes):
        o = spec.objects.get(name)
        region = OBJECT_REGION if o is None else (o.x, o.y)
        for _ in range(ATTEMPTS):
            xy = (_uniform(rng, region[0]), _uniform(rng, region[1]))
            claims, path = [xy], None
            if name in spots:
                claims.append((xy[0] + BESIDE_SPOT * spots[name][0], xy[1] + BESIDE_SPOT * spots[name][1]))
            if name in lanes:
                path = _lane(xy, next(z for z in zones if z.colour == lanes[name]).xy)
            if (
                all(hypot(c[0] - t[0], c[1] - t[1]) >= MIN_GAP for c in claims for t in taken)
                and all(_reachable(c) for c in claims)
                and all(_distance(xy, *p) >= LANE_WIDTH for p in paths)
            ):
                break
        else:
            raise NoLayout
        found[name] = xy
        taken += claims
        if path:
            paths.append(path)
    return {name: found[name] for name in names}


def _reachable(xy: tuple[float, float]) -> bool:
    return all(low - REACH_MARGIN <= v <= high + REACH_MARGIN for v, (low, high) in zip(xy, OBJECT_REGION, strict=True))


def _lane(xy: tuple[float, float], goal: tuple[float, float]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The path of a push: from behind the object to the goal."""
    dx, dy = goal[0] - xy[0], goal[1] - xy[1]
    length = hypot(dx, dy)
    back = (xy[0] - LANE_BACK * dx / length, xy[1] - LANE_BACK * dy / length)
    return back, goal


def _distance(p: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance of a point from a segment."""
    ux, uy = b[0] - a[0], b[1] - a[1]
    t = min(1.0, max(0.0, ((p[0] - a[0]) * ux + (p[1] - a[1]) * uy) / (ux * ux + uy * uy)))
    return hypot(p[0] - a[0] - t * ux, p[1] - a[1] - t * uy)
