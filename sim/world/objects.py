"""The nine movable shapes: sizes, collision parts and procedural meshes.

Every shape is centred on its bounding box: upright, its centre lies ``half_extents(shape)[2]`` above its support.
A shape has at most :data:`MAX_PARTS` geoms.  The first is what the camera sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.world.scene import SHAPES

MASS = 0.08  # kg, the same for every shape
MAX_PARTS = 3


@dataclass(frozen=True)
class Part:
    """One geom of a shape, in the object's frame; ``size`` as MuJoCo has it for ``kind``."""

    kind: str  # "box", "cylinder", "sphere", "mesh"
    size: tuple[float, ...] = ()
    pos: tuple[float, float, float] = (0.0, 0.0, 0.0)
    visible: bool = True
    solid: bool = True


@dataclass(frozen=True)
class Shape:
    parts: tuple[Part, ...]
    half: tuple[float, float, float]
    flat_top: bool
    rolls: bool = False  # gets rolling friction, or it would roll for ever once it lies on its side


_MUG_R, _MUG_H = 0.023, 0.058
_BOTTLE_R, _BOTTLE_H = 0.021, 0.092
_CUP_H, _PEAR_H, _STAR_H = 0.062, 0.066, 0.040

_TABLE: dict[str, Shape] = {
    "cube": Shape((Part("box", (0.021, 0.021, 0.021)),), (0.021, 0.021, 0.021), True),
    "block": Shape((Part("box", (0.018, 0.030, 0.018)),), (0.018, 0.030, 0.018), True),
    "cylinder": Shape((Part("cylinder", (0.021, 0.026)),), (0.021, 0.021, 0.026), True, rolls=True),
    "ball": Shape((Part("sphere", (0.023,)),), (0.023, 0.023, 0.023), False, rolls=True),
    "mug": Shape(
        (
            Part("mesh", solid=False),
            Part("cylinder", (_MUG_R, _MUG_H / 2), (-0.007, 0.0, 0.0), visible=False),
            Part("box", (0.008, 0.004, 0.016), (0.022, 0.0, 0.0), visible=False),
        ),
        (0.030, _MUG_R, _MUG_H / 2),
        True,
        rolls=True,
    ),
    "bottle": Shape(
        (
            Part("mesh", solid=False),
            Part("cylinder", (_BOTTLE_R, 0.027), (0.0, 0.0, 0.027 - _BOTTLE_H / 2), visible=False),
            Part("cylinder", (0.010, 0.019), (0.0, 0.0, _BOTTLE_H / 2 - 0.019), visible=False),
        ),
        (_BOTTLE_R, _BOTTLE_R, _BOTTLE_H / 2),
        False,
        rolls=True,
    ),
    "pear": Shape((Part("mesh"),), (0.025, 0.025, _PEAR_H / 2), False, rolls=True),
    "star": Shape((Part("mesh"),), (0.028, 0.028, _STAR_H / 2), True),
    "cup": Shape((Part("mesh"),), (0.026, 0.026, _CUP_H / 2), False, rolls=True),
}
assert tuple(_TABLE) == SHAPES


def shape_of(name: str) -> Shape:
    """The geometry of a shape name of :data:`sim.world.scene.SHAPES`."""
    return _TABLE[name]


def half_extents(shape: str) -> np.ndarray:
    """(3,) half of the upright bounding box at yaw 0, metres."""
    return np.array(_TABLE[shape].half)


def upright_height(shape: str) -> float:
    """Height of the standing object, metres."""
    return 2 * _TABLE[shape].half[2]


def stackable_top(shape: str) -> bool:
    """Whether another object can stand on it."""
    return _TABLE[shape].flat_top


def _lathe(profile: list[tuple[float, float]], segments: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Surface of revolution about z.  ``profile``: (radius, z) from the bottom up the outside, ending on the axis."""
    angles = 2 * np.pi * np.arange(segments) / segments
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(segments, z)], 1) for r, z in profile]
    faces = []
    for ring in range(len(rings) - 1):
        for k in range(segments):
            a, b = ring * segments + k, ring * segments + (k + 1) % segments
            c, d = a + segments, b + segments
            if profile[ring][0] > 1e-9:
                faces.append((a, b, d))
            if profile[ring + 1][0] > 1e-9:
                faces.append((a, d, c))
    return np.concatenate(rings), np.array(faces)


def _merge(*meshes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *[len(v) for v, _ in meshes[:-1]]])
    faces = [f + offset for (_, f), offset in zip(meshes, offsets, strict=True)]
    return np.concatenate([v for v, _ in meshes]), np.concatenate(faces)


def _mug() -> tuple[np.ndarray, np.ndarray]:
    r, h, wall = _MUG_R, _MUG_H / 2, 0.004
    body, body_faces = _lathe([(0, -h), (r, -h), (r, h), (r - wall, h), (r - wall, -h + 0.02), (0, -h + 0.02)], 16)
    body[:, 0] -= 0.007
    turns, ring = 7, 5  # the handle: half a torus in the xz plane
    along = np.linspace(-np.pi / 2, np.pi / 2, turns)
    round_ = 2 * np.pi * np.arange(ring) / ring
    wide, high, minor = 0.014, 0.018, 0.0045
    vertices = np.array(
        [
            (
                (wide + minor * np.cos(b)) * np.cos(a) + r - 0.0105,
                minor * np.sin(b),
                (high + minor * np.cos(b)) * np.sin(a),
            )
            for a in along
            for b in round_
        ]
    )
    faces = []
    for i in range(turns - 1):
        for k in range(ring):
            a, b = i * ring + k, i * ring + (k + 1) % ring
            faces += [(a, a + ring, b + ring), (a, b + ring, b)]
    return _merge((body, body_faces), (vertices, np.array(faces)))


def _star(points: int = 5, outer: float = 0.028, inner: float = 0.0135) -> tuple[np.ndarray, np.ndarray]:
    angles = np.pi * np.arange(2 * points) / points
    radii = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    rim = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    n, h = 2 * points, _STAR_H / 2
    low = np.concatenate([rim, np.full((n, 1), -h)], 1)
    vertices = np.concatenate([low, low * (1, 1, -1)])
    flat = [(k - 1 if k else n - 1, k, k + 1) for k in range(0, n, 2)]  # the tips, then the inner polygon
    flat += [(1, k, k + 2) for k in range(3, n - 2, 2)]
    faces = [(n + a, n + b, n + c) for a, b, c in flat] + [(a, c, b) for a, b, c in flat]
    for k in range(n):
        j = (k + 1) % n
        faces += [(k, j, n + j), (k, n + j, n + k)]
    return vertices, np.array(faces)


def meshes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Shape name -> (vertices (N, 3) metres, faces (M, 3)) for the shapes whose first part is a mesh."""
    b, p, c = _BOTTLE_H / 2, _PEAR_H / 2, _CUP_H / 2
    bottle = [(0, -b), (0.021, -b), (0.021, 0.004), (0.010, 0.020), (0.010, b - 0.010), (0.012, b - 0.010)]
    bottle += [(0.012, b), (0, b)]
    pear = [(0, -p), (0.015, -p), (0.023, -p + 0.010), (0.025, -p + 0.022), (0.021, -p + 0.034), (0.014, 0.012)]
    pear += [(0.011, p - 0.012), (0.008, p - 0.004), (0.0025, p - 0.004), (0.002, p), (0, p)]
    cup = [(0, -c), (0.017, -c), (0.026, c), (0.023, c), (0.016, -c + 0.02), (0, -c + 0.02)]
    return {"mug": _mug(), "bottle": _lathe(bottle), "pear": _lathe(pear), "star": _star(), "cup": _lathe(cup)}
