"""A scene as plain data: the objects on the table with place and colour, and the start of the arm.

Frame: the robot's base; x forward, y to the robot's left, z up, metres.  The front camera stands beyond the table
and looks back at the robot, so in its image *right* is +y, *left* is -y and *in front* (nearer the viewer) is +x.
Instructions use the directions of this image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# name -> RGBA.  Eight colours that can be distinguished at 96 px.
COLOURS: dict[str, tuple[float, float, float, float]] = {
    "red": (0.85, 0.10, 0.10, 1.0),
    "green": (0.10, 0.62, 0.15, 1.0),
    "blue": (0.10, 0.25, 0.90, 1.0),
    "yellow": (0.95, 0.85, 0.10, 1.0),
    "purple": (0.50, 0.12, 0.70, 1.0),
    "orange": (1.00, 0.48, 0.05, 1.0),
    "white": (0.96, 0.96, 0.96, 1.0),
    "black": (0.07, 0.07, 0.07, 1.0),
}
SHAPES: tuple[str, ...] = ("cube", "block", "cylinder", "ball", "mug", "bottle", "pear", "star", "cup")

# Where objects may lie (centre), where fixtures stand.  Fixtures move a little from scene to scene.
OBJECT_REGION = ((0.40, 0.63), (-0.14, 0.14))  # x range, y range
MIN_GAP = 0.09  # least distance between object centres, metres
MAX_OBJECTS = 6
CABINET_HEIGHT, CABINET_HALF = 0.09, (0.066, 0.070)  # of the cabinet's upper side: over the table; half extents


@dataclass(frozen=True)
class Object:
    """A movable object.  ``name`` is its role in the task: target, second, reference, distractor1, ..."""

    name: str
    shape: str
    colour: str
    xy: tuple[float, float]
    yaw: float = 0.0
    on: str = "table"  # "table", "tray", "drawer" or the name of another object that it stands on


@dataclass(frozen=True)
class Button:
    colour: str
    xy: tuple[float, float]


@dataclass(frozen=True)
class Zone:
    """A coloured square on the table, without thickness to touch."""

    colour: str
    xy: tuple[float, float]
    half: float = 0.045


@dataclass(frozen=True)
class Start:
    """Where the gripper starts: finger-tip centre, pointing down."""

    xyz: tuple[float, float, float] = (0.45, 0.0, 0.22)
    yaw: float = 0.0
    gripper: float = 0.0  # 0 open, 1 closed


@dataclass(frozen=True)
class Scene:
    """Everything that a seed decides.  Every scene has all fixtures, so that they do not reveal the task."""

    objects: tuple[Object, ...]
    buttons: tuple[Button, ...]  # three
    zones: tuple[Zone, ...]  # two
    tray_xy: tuple[float, float] = (0.50, 0.265)
    cabinet_xy: tuple[float, float] = (0.37, -0.275)
    drawer_open: float = 0.0  # 0 closed, 1 open
    start: Start = field(default_factory=Start)
