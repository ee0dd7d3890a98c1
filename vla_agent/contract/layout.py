"""The parts of a contract: cameras, and the fields of the state and action vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VERSION = 2


@dataclass(frozen=True)
class Camera:
    """One camera.

    Args:
        color: order of the channels, "rgb" or "bgr".
        hz: new images a second; None: one for each control period.
    """

    name: str
    height: int
    width: int
    color: str = "rgb"
    hz: float | None = None


@dataclass(frozen=True)
class Field:
    """A slice of the state or action vector: ``size`` numbers of one unit in one frame.

    Args:
        low, high: range of each of the numbers; None: no limit.
        rotation: for rotations, the convention: "matrix columns 1, 2" or "rotation vector".
    """

    name: str
    size: int
    unit: str
    frame: str = ""
    low: float | None = None
    high: float | None = None
    rotation: str = ""


@dataclass(frozen=True)
class Layout:
    """The content of a contract, without its checks: see `vla_agent.contract.contract.Contract`."""

    cameras: tuple[Camera, ...]
    state: tuple[Field, ...]
    action: tuple[Field, ...]
    control_hz: float
    chunk_length: int
    version: int = VERSION
    language: str = "en"

    @property
    def state_dim(self) -> int:
        return sum(f.size for f in self.state)

    @property
    def action_dim(self) -> int:
        return sum(f.size for f in self.action)

    @property
    def camera_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.cameras)

    @staticmethod
    def slices(layout: tuple[Field, ...]) -> dict[str, slice]:
        """Where each field of ``state`` or ``action`` lies in its vector."""
        ends = np.cumsum([f.size for f in layout])
        return {f.name: slice(int(end) - f.size, int(end)) for f, end in zip(layout, ends, strict=True)}
