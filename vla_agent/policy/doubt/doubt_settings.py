"""What a policy's folder says of its doubt: names, calibration, threshold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DoubtSettings:
    """What a policy's folder says of its doubt.

    shapes, colours: their names, in the order of the sight's outputs.  slope, offset: of the logistic function of the
    pair's log-probability.  hold_above: the policy holds still above this probability.  looks: that an object is
    remembered.
    """

    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    slope: float
    offset: float
    hold_above: float
    looks: int = 3
    width: int = 32

    def __post_init__(self) -> None:
        """Raise `ValueError` for a calibration that cannot be one."""
        numbers = (self.slope, self.offset, self.hold_above)
        if not all(math.isfinite(number) for number in numbers) or not 0 <= self.hold_above <= 1:
            raise ValueError(f"slope, offset and a threshold from 0 to 1 are wanted, not {numbers}")
        if self.looks < 1 or self.width < 1:
            raise ValueError(f"at least one look and one channel are wanted, not {self.looks} and {self.width}")

    @classmethod
    def from_dict(cls, described: Any) -> DoubtSettings:
        """From what `to_dict` gave.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        if unknown := sorted(described.keys() - {field.name for field in fields(cls)}):
            raise ValueError(f"there is no setting {unknown[0]}")
        return cls(
            shapes=tuple(str(name) for name in described["shapes"]),
            colours=tuple(str(name) for name in described["colours"]),
            slope=float(described["slope"]),
            offset=float(described["offset"]),
            hold_above=float(described["hold_above"]),
            looks=int(described["looks"]),
            width=int(described["width"]),
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"shapes": list(self.shapes), "colours": list(self.colours)}

    def absent(self, fit: np.ndarray | float) -> np.ndarray:
        """Probability that a pair is not there, from its log-probability at the best cell."""
        return 1 / (1 + np.exp(-(self.slope * np.asarray(fit, np.float64) + self.offset)))
