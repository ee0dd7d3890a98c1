"""One recorded episode, of whatever kind, as the window plays it: any frame, in any order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vla_agent.data.browse.shown import Signal
from vla_agent.view.source import Plot, Scene, Status

APART = 1.3  # metres along y between two episodes that stand side by side: to the right of who faces the robots


@dataclass(frozen=True)
class Place:
    """Where an episode stands in the window.

    Attributes:
        name: before the names of its pictures; empty where it is alone.
        offset: (3,) metres, of its base.
    """

    name: str = ""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def prefix(self) -> str:
        """Before the names of its bodies."""
        return f"{self.name}/" if self.name else ""

    def picture(self, camera: str) -> str:
        """The name of a camera's picture."""
        return f"{self.name} {camera}" if self.name else camera


@dataclass(frozen=True)
class Track:
    """What is known of all frames.

    Attributes:
        hz: frames a second.  length: frames.
        title: such as "policy" or "expert".
        instruction: that was given.
        outcome: "success", how it failed, or that nothing says so.
        facts: further lines.
        signals: of all frames; NaN where there is no value.
        path: (length, 3) metres, the end effector's; None where it is not known.
        actions: (length, A) as recorded; NaN rows after the last one.
        supervised: whether `Lane.supervisor` says something.
    """

    hz: float
    length: int
    title: str
    instruction: str
    outcome: str
    facts: Mapping[str, str]
    signals: Sequence[Signal]
    path: np.ndarray | None
    actions: np.ndarray | None = None
    supervised: bool = False


class Lane(Protocol):
    """An episode that can be shown.  Frames are 0 to ``track.length`` - 1."""

    track: Track
    scene: Scene

    def poses(self, frame: int) -> dict[str, np.ndarray]:
        """Body -> pose; empty without geometry."""
        ...

    def images(self, frame: int) -> dict[str, np.ndarray]:
        """Camera -> (H, W, 3) uint8."""
        ...

    def state(self, frame: int) -> np.ndarray | None:
        """(D,) as a policy would see it; None where there is none."""
        ...

    def supervisor(self, frame: int) -> Status | None:
        """The safety supervisor's state, where it was recorded."""
        ...

    def close(self) -> None: ...


def frames_at(track: Track, hz: float) -> int:
    """How many frames of ``hz`` a second an episode takes."""
    return math.ceil(track.length * hz / track.hz)


def own_frame(track: Track, frame: int, hz: float) -> int:
    """The episode's frame at the time of ``frame`` at ``hz``; its last one after its end."""
    return min(int(frame * track.hz / hz + 1e-9), track.length - 1)


def signal_plot(title: str, lanes: Sequence[tuple[Place, Track]], frame: int) -> Plot:
    """A signal of one or two episodes over the time of the first, with an upright line at its ``frame``."""
    hz = lanes[0][1].hz
    length = max(frames_at(track, hz) for _, track in lanes)
    lines: dict[str, np.ndarray] = {}
    for place, track in lanes:
        rows = np.array([own_frame(track, k, hz) for k in range(frames_at(track, hz))])
        for signal in (s for s in track.signals if s.title == title):
            for column, name in enumerate(signal.names):
                label = " ".join(part for part in (place.name, name) if part) or title
                lines[label] = np.full(length, np.nan)
                lines[label][: len(rows)] = signal.values[rows, column]
    known = [line[np.isfinite(line)] for line in lines.values()]
    values = np.concatenate([np.zeros(0), *known])
    now = np.full(length, np.nan)
    if len(values) and length > 1:
        first = min(frame, length - 2)  # two neighbours, from the least to the most: as good as upright
        now[first : first + 2] = values.min(), values.max()
    return Plot(title, np.arange(length) / hz, lines | {"now": now})
