"""Takes: parts of a recording between which the clock of the headers began again, as when a simulation is restarted.

The times of two takes overlap, so that messages matched across them would pair images of one with states of the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

RESET = 1.0  # seconds by which a clock goes back at least; less is a message that came late
SET_BACK = 0.2  # the same where messages go on from there at their usual pace, as when a clock is set
FOLLOWING = 3  # messages that go on from there; fewer are late ones
PACE = 1.5  # usual intervals: a longer step up to the newest time, and what went before were late messages

Row = TypeVar("Row")
Name = TypeVar("Name")


def resets(stamps: Sequence[float]) -> list[int]:
    """Where the clock of one source began again.

    Args:
        stamps: times of its messages, seconds, in the order in which they came.
    """
    found: list[int] = []
    newest = float("-inf")
    usual = statistics.median(abs(b - a) for a, b in pairwise(stamps)) if len(stamps) > 1 else 0.0
    for k, stamp in enumerate(stamps):
        following = stamps[k : k + FOLLOWING]
        if max(following) < newest - RESET or (
            max(following) < newest and stamp < newest - SET_BACK and _goes_on(stamps, k, newest, PACE * usual)
        ):
            found.append(k)
            newest = stamp
        newest = max(newest, stamp)
    return found


def _goes_on(stamps: Sequence[float], first: int, newest: float, most: float) -> bool:
    """Whether times rise from ``first`` on by steps of at most ``most`` until they are newer than ``newest``."""
    for before, after in pairwise(stamps[first:]):
        if not 0 <= after - before <= most:
            return False
        if after > newest:
            return True
    return False


def split(rows: Mapping[Name, list[Row]], places: Mapping[Name, list[int]]) -> list[dict[Name, list[Row]]]:
    """The rows of every source by take; a source whose clock began again less often has none in the last takes."""
    takes: list[dict[Name, list[Row]]] = []
    for take in range(1 + max(map(len, places.values()), default=0)):
        ends = {name: [0, *places[name], len(kept)] for name, kept in rows.items()}
        takes.append(
            {n: kept[ends[n][take] : ends[n][take + 1]] if take + 1 < len(ends[n]) else [] for n, kept in rows.items()}
        )
    return takes
