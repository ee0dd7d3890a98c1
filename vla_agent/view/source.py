"""What the window shows, and what can be done in it: the contract between a source and the window.

A source is a simulator, a ROS 2 graph, a recorded episode or a training.  One thread owns it: it calls `step` at the
source's rate and hands it each `Command` of a viewer between two steps.  `step` returns a `Frame`, which holds
everything that is to be seen.  Another thread draws.  The newest frame wins: frames that nobody could draw in time are
dropped, so a frame never says what has changed since the one before.  Geometry is the exception: it is sent once, and
again only when `Frame.scene` is another object.

Frames are the base frame's (x forward, y to the robot's left, z up, metres), quaternions are w, x, y, z.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Value = str | float | bool | tuple[float, float, float] | None  # of a control; None for a button
RGB = tuple[int, int, int]

# What a viewer can do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Button:
    """``key``: one letter, or ``space``, that presses it, where the browser's focus is in no text box."""

    name: str
    label: str
    key: str = ""
    hint: str = ""
    group: str = ""  # controls of one group stand together under its name; those without one come first


@dataclass(frozen=True)
class Choice:
    name: str
    label: str
    options: tuple[str, ...]
    value: str
    hint: str = ""
    group: str = ""


@dataclass(frozen=True)
class Slider:
    """Sends a number from ``low`` to ``high`` while it is moved.  ``unit`` is shown beside the label."""

    name: str
    label: str
    low: float
    high: float
    step: float
    value: float
    unit: str = ""
    hint: str = ""
    group: str = ""


@dataclass(frozen=True)
class Toggle:
    name: str
    label: str
    value: bool
    hint: str = ""
    group: str = ""


@dataclass(frozen=True)
class TextBox:
    """Sends its text when the viewer presses Enter or the button ``send`` beside it."""

    name: str
    label: str
    value: str = ""
    send: str = "send"
    hint: str = ""
    group: str = ""


@dataclass(frozen=True)
class Handle:
    """Something that can be dragged in the 3-D view; where it stands now is in `Frame.values`.  Sends (x, y, z)."""

    name: str
    label: str


Control = Button | Choice | Slider | Toggle | TextBox | Handle


@dataclass(frozen=True)
class Command:
    """A viewer used a control.  ``value``: what it now shows; None for a button."""

    name: str
    value: Value = None


# What is shown --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A rigid piece of geometry in one colour.

    Attributes:
        body: name of what it moves with, a key of `Frame.poses`.
        vertices: (N, 3) float32, metres, in the body's frame.
        faces: (M, 3) int32.
        rgba: each 0 to 1.
    """

    body: str
    vertices: np.ndarray
    faces: np.ndarray
    rgba: tuple[float, float, float, float]


@dataclass(frozen=True)
class CameraModel:
    """A camera that is drawn as a frustum.  Its pose is ``Frame.poses[body]``: z into the image, x right, y down."""

    name: str  # of its picture
    body: str
    fovy: float  # radians, vertical
    aspect: float  # width / height


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn in 3-D and does not change but for poses.

    A part that is the same object as one of the scene before is not sent again.

    Attributes:
        pick, pickable: a click on a body sets the choice ``pick`` to the option ``pickable[body]``.
    """

    parts: tuple[Part, ...] = ()
    pick: str = ""
    pickable: Mapping[str, str] = field(default_factory=dict)
    cameras: tuple[CameraModel, ...] = ()
    look_from: tuple[float, float, float] = (1.5, -0.9, 0.92)  # where a new viewer stands, metres
    look_at: tuple[float, float, float] = (0.45, 0.0, 0.33)


@dataclass(frozen=True)
class Path:
    """A line in space.  ``points``: (N, 3) metres; one with fewer than two is not drawn."""

    name: str
    points: np.ndarray
    colour: RGB
    width: float = 3.0  # pixels


@dataclass(frozen=True)
class Box:
    """A rectangle on a picture: ``corners`` are left, top, right, bottom from 0 to 1."""

    label: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """A camera's image, with what the policy sees in it drawn on top.

    Attributes:
        name: of the camera.
        image: (H, W, 3) uint8.
        maps: (R, h, w), each from 0 to 1: a pointing map a role; None without one.
        points: (R, 2), u right and v down from 0 to 1: where each role's map points; None without one.
        seen: (R,) 0 to 1: probability that the point is in the image; weak points are drawn pale.
        boxes: things that the policy named.
    """

    name: str
    image: np.ndarray
    maps: np.ndarray | None = None
    points: np.ndarray | None = None
    seen: np.ndarray | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Curves over one axis.  The source bounds their length: `vla_agent.view.history` has a ring buffer.

    Attributes:
        x: (N,) float64, ascending.
        lines: label -> (N,) float64; NaN where there is no value.
        x_label: such as "s" or "samples".
    """

    title: str
    x: np.ndarray
    lines: Mapping[str, np.ndarray]
    x_label: str = "s"


LEVELS = ("idle", "good", "warning", "bad")  # grey, green, amber, red


@dataclass(frozen=True)
class Status:
    """What happens now, in words.  ``level``: one of `LEVELS`."""

    text: str
    level: str = "idle"


@dataclass(frozen=True)
class Frame:
    """One moment, whole.

    Attributes:
        taken: when what it shows was observed, seconds of `time.time`.
        status: such as "running", "success", "stopped by you".
        scene: geometry; the window sends it again only where it is another object than before.
        poses: body -> (7,): position 3 (m), quaternion w x y z 4.
        facts: short lines, name -> text: instruction, task, seed, steps, doubt and its reason.
        supervisor: its state with the reason in words; None where the source has none.
        rates: what -> measured Hz.  latencies: what -> milliseconds.
        values: control -> what it shows now, where the source has changed it (a slider that follows playback).  A
            handle without a value, or with None, is hidden.
        options: choice -> its options, where they are not those that it began with.
    """

    taken: float
    status: Status
    scene: Scene = Scene()
    poses: Mapping[str, np.ndarray] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    paths: tuple[Path, ...] = ()
    plots: tuple[Plot, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    supervisor: Status | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    latencies: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Source(Protocol):
    """What the window opens.  Every method is called by one and the same thread.

    A method may raise a `VlaAgentError`, or anything else: the page shows it in words and stays.  After an error in
    `step` the window goes on calling it; a source that cannot go on says so in its `Status`.
    """

    title: str  # of the page
    hz: float  # calls of `step` a second, at most

    @property
    def controls(self) -> tuple[Control, ...]:
        """What viewers can do, after `open`; it stays the same until `close`."""
        ...

    def open(self) -> None:
        """Start: load, connect.  Errors here end the command."""
        ...

    def step(self) -> Frame | None:
        """The next moment; None where nothing has changed."""
        ...

    def command(self, command: Command) -> None:
        """Do what a viewer asked for.  A refusal is a `VlaAgentError` with the reason."""
        ...

    def close(self) -> None:
        """Free what `open` took.  Called once."""
        ...
