"""Joint states as drivers publish them: at any rate, in parts from several publishers, joined by joint name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.errors import ObservationError
from vla_agent.files.input_limits import JOINTS, NAME

LIMIT = 0.25  # seconds that a joint may be silent while others are not; grippers publish at 10 to 30 Hz
LAYOUTS = 64  # different lists of names that are remembered; a publisher has one


@dataclass(frozen=True)
class JointPart:
    """The joints of one message.

    ``places`` (n,): in the reader's list of names; ``key``: the same, to tell parts apart.  ``positions`` and
    ``efforts`` (n,): of these joints; efforts are NaN where the message has none.  ``stamp``: seconds.
    """

    key: tuple[int, ...]
    places: np.ndarray
    positions: np.ndarray
    efforts: np.ndarray
    stamp: float


class JointReader:
    """Reads the joints ``names`` of sensor_msgs/JointState messages; each message may have any of them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._layouts: dict[tuple[str, ...], tuple[tuple[int, ...], np.ndarray, np.ndarray]] = {}

    def read(self, message: Any) -> JointPart | None:
        """The message's part; None where it has none of the joints, or no positions.

        Raises:
            ObservationError: without a stamp, too many joints, a joint twice, or another number of positions or efforts
                than of names.
        """
        count = len(message.name)
        if max(count, len(message.position), len(message.effort)) > JOINTS:
            found = f"{count} names, {len(message.position)} positions"
            raise _wrong("a joint state is too large", "name", f"at most {JOINTS} joints", found)
        if not count or not len(message.position):
            return None
        key, places, sources = self._layout(tuple(message.name))
        if not key:
            return None
        if len(message.position) != count or len(message.effort) not in (0, count):
            found = f"{len(message.position)} positions, {len(message.effort)} efforts"
            raise _wrong("a joint state has values without names", "position", f"{count}, one for each name", found)
        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        if not stamp:
            raise _wrong("a joint state has no time", "header.stamp", "when it was measured", "0")
        positions = np.asarray(message.position, dtype=np.float64)[sources]
        if len(message.effort):
            efforts = np.asarray(message.effort, dtype=np.float64)[sources]
        else:
            efforts = np.full(len(key), np.nan)
        return JointPart(key, places, positions, efforts, stamp)

    def _layout(self, names: tuple[str, ...]) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
        """Places of the wanted joints in our list, twice, and in a message with these names."""
        known = self._layouts.get(names)
        if known is not None:
            return known
        found = [name for name in self.names if name in names]
        if twice := [name for name in found if names.count(name) > 1]:
            raise _wrong("a joint state names a joint twice", "name", "each joint once", ", ".join(twice)[:NAME])
        key = tuple(self.names.index(name) for name in found)
        made = key, np.array(key, dtype=np.intp), np.array([names.index(name) for name in found], dtype=np.intp)
        if len(self._layouts) >= LAYOUTS:
            self._layouts.clear()
        self._layouts[names] = made
        return made


@dataclass(frozen=True)
class JointState:
    """The newest value of each joint: ``positions`` and ``efforts`` (N,), NaN where there is none; ``stamp``: seconds,
    of the oldest of the arm's joints."""

    positions: np.ndarray
    efforts: np.ndarray
    stamp: float


class JointJoiner:
    """The newest state, joined from the parts of several publishers.

    Args:
        arm: the joints that must all be new for a new state.
        others: joints, such as the gripper's, whose last value counts for `LIMIT` seconds.
    """

    def __init__(self, arm: Sequence[str], others: Sequence[str] = ()) -> None:
        self._reader = JointReader([*arm, *others])
        self._arm = len(arm)
        count = len(self._reader.names)
        self._positions, self._efforts = np.full(count, np.nan), np.full(count, np.nan)
        self._stamps = np.full(count, -np.inf)
        self._new = np.zeros(count, dtype=bool)
        self._first = np.inf  # the earliest stamp

    def add(self, message: Any) -> JointState | None:
        """A message; the state, where each joint of the arm is new since the state before, and none is missing.

        Raises:
            ObservationError: see `JointReader.read`.
        """
        part = self._reader.read(message)
        if part is None:
            return None
        places, self._first = part.places, min(self._first, part.stamp)
        self._positions[places], self._efforts[places] = part.positions, part.efforts
        self._stamps[places], self._new[places] = part.stamp, True
        if not self._new[: self._arm].all() or self._stamps.max() - self._stamps.min() > LIMIT:
            return None
        self._new[:] = False
        return JointState(self._positions.copy(), self._efforts.copy(), float(self._stamps[: self._arm].min()))

    @property
    def missing(self) -> str:
        """The joints without a value for more than `LIMIT` seconds while others have one, in words; else empty."""
        if not np.isfinite(self._first):
            return ""
        late = self._stamps.max() - np.maximum(self._stamps, self._first)
        names = [name for name, seconds in zip(self._reader.names, late, strict=True) if seconds > LIMIT]
        if not names:
            return ""
        return f"{', '.join(names)[:NAME]}: no position for over {LIMIT:g} s"


def _wrong(what: str, key: str, expected: str, found: str) -> ObservationError:
    return ObservationError(what, key=key, expected=expected, found=found, remedy="check what publishes it")
