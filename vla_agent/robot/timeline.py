"""The newest values of one source, kept by time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")
SPARE = 256  # forgotten places at the front of the lists, before they are cut


class Timeline(Generic[Value]):
    """Values with ascending stamps: those of the last ``seconds``, and of these the newest ``most``.

    Adding costs the same at any rate, and finding the nearest one a binary search.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._stamps: list[float] = []
        self._values: list[Value] = []
        self._first = 0

    def __len__(self) -> int:
        return len(self._stamps) - self._first

    def add(self, stamp: float, value: Value) -> None:
        """A value that is newer than all before it; ``stamp``: seconds."""
        self._stamps.append(stamp)
        self._values.append(value)
        first, count = self._first, len(self._stamps)
        while self._stamps[first] < stamp - self._seconds or count - first > self._most:
            self._values[first] = None  # type: ignore[assignment]  # never read again: frees an image at once
            first += 1
        if first > SPARE:
            del self._stamps[:first], self._values[:first]
            first = 0
        self._first = first

    @property
    def newest(self) -> tuple[float, Value]:
        """Stamp and value of the newest; there must be one."""
        return self._stamps[-1], self._values[-1]

    def nearest(self, stamp: float) -> tuple[float, Value]:
        """Stamp and value of the one nearest to ``stamp``, the earlier of two; there must be one."""
        after = bisect_left(self._stamps, stamp, self._first)
        before = after - 1
        if after == len(self._stamps):
            k = before
        elif before < self._first or self._stamps[after] - stamp < stamp - self._stamps[before]:
            k = after
        else:
            k = before
        return self._stamps[k], self._values[k]

    def backwards(self) -> Iterator[tuple[float, Value]]:
        """All, the newest first."""
        for k in range(len(self._stamps) - 1, self._first - 1, -1):
            yield self._stamps[k], self._values[k]
