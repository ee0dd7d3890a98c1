"""A doubt, and what a policy's folder says of it: names, calibration, threshold.  Imports no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

Curve = tuple[float, float]  # slope and offset of a logistic function
NEVER: Curve = (0.0, -20.0)  # doubts nothing
MOST = 4096  # looks, channels and hidden units
CURVES = ("fixture", "place", "relation")
Direction = tuple[str, float, float]  # name, then the unit vector x, y in the base frame
# As the front camera sees it.
DIRECTIONS: tuple[Direction, ...] = (
    ("left of", 0.0, -1.0),
    ("right of", 0.0, 1.0),
    ("in front of", 1.0, 0.0),
    ("behind", -1.0, 0.0),
)


@dataclass(frozen=True)
class Doubt:
    """That an instruction can not be done here.

    probability: calibrated; of a claim of which true and false ones are equally frequent.
    reason: in words, such as "I see no red mug; I see a red cup"; empty below the threshold.
    """

    probability: float
    reason: str


@dataclass(frozen=True)
class DoubtSettings:
    """What a policy's folder says of its doubt.

    shapes, colours, places, fixtures: their names, in the order of the sight's outputs.  slope, offset: of the logistic
    function of a pair's log-probability.  hold_above: the policy holds still above this probability.  looks: that an
    object is remembered.  fixture, place: slope and offset for their log-probabilities; relation: for how far, in
    metres, an object lies inside the direction that is claimed.  width, context: sizes of the sight.
    """

    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    slope: float
    offset: float
    hold_above: float
    looks: int = 3
    width: int = 32
    places: tuple[str, ...] = ("table", "tray", "drawer")
    fixtures: tuple[str, ...] = ("button", "zone")
    directions: tuple[Direction, ...] = DIRECTIONS
    fixture: Curve = NEVER
    place: Curve = NEVER
    relation: Curve = NEVER
    context: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for a calibration that cannot be one."""
        numbers = [self.slope, self.offset, self.hold_above, *self.fixture, *self.place, *self.relation]
        for _, x, y in self.directions:
            numbers += [x, y]
        if not all(math.isfinite(number) for number in numbers) or not 0 <= self.hold_above <= 1:
            raise ValueError(f"slopes, offsets, directions and a threshold from 0 to 1 are wanted, not {numbers}")
        if self.looks < 1 or self.width < 1 or self.context < 0:
            wrong = f"{self.looks}, {self.width} and {self.context}"
            raise ValueError(f"at least one look, one channel and a context from 0 are wanted, not {wrong}")

    @classmethod
    def from_dict(cls, described: Any) -> DoubtSettings:
        """From what `to_dict` gave.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        if unknown := sorted(described.keys() - {field.name for field in fields(cls)}):
            raise ValueError(f"there is no setting {unknown[0]}")
        return cls(
            shapes=_names(described["shapes"]),
            colours=_names(described["colours"]),
            places=_names(described["places"]),
            fixtures=_names(described["fixtures"]),
            slope=float(described["slope"]),
            offset=float(described["offset"]),
            hold_above=float(described["hold_above"]),
            looks=_count(described["looks"]),
            width=_count(described["width"]),
            directions=tuple((str(name), float(x), float(y)) for name, x, y in described["directions"]),
            fixture=_curve(described["fixture"]),
            place=_curve(described["place"]),
            relation=_curve(described["relation"]),
            context=_count(described.get("context", 0)),
        )

    def to_dict(self) -> dict[str, Any]:
        return {key: _plain(value) for key, value in asdict(self).items()}

    def absent(self, fit: np.ndarray | float) -> np.ndarray:
        """Probability that a pair is not there, from its log-probability at the best cell."""
        return logistic((self.slope, self.offset), fit)


def logistic(curve: Curve, value: np.ndarray | float) -> np.ndarray:
    """The logistic function of ``slope * value + offset``."""
    exponent = curve[0] * np.asarray(value, np.float64) + curve[1]
    return 1 / (1 + np.exp(-exponent.clip(-500, 500)))


def _names(described: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in described)


def _count(described: Any) -> int:
    """A whole number that a small network can have; before anything of that size is allocated."""
    if type(described) is not int or not 0 <= described <= MOST:
        raise ValueError(f"a whole number from 0 to {MOST} is wanted, not {described!r}")
    return described


def _curve(described: Any) -> Curve:
    slope, offset = described
    return float(slope), float(offset)


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
