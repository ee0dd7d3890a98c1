"""Synchronises sources of different rates: which message of each source belongs to each control period, and the gaps.

::

    control periods   |      |      |      |      |          nearest: the message closest in time
    messages            x       x  x          x              hold: the last one before

Both only within the tolerance; a period without a message is a gap.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LOST = 1.5  # in median intervals: after a longer silence, messages count as lost


@dataclass(frozen=True)
class Matched:
    """``index`` (n,): the message of each control period, -1 for a gap; ``report``: a `SourceReport` as plain data."""

    index: np.ndarray
    report: dict[str, Any]


@dataclass(frozen=True)
class SourceReport:
    """Quality of one source in one episode.

    messages: within the episode.  hz: rate by the median interval.  lost: messages missing in silences (estimate).
    silence: the longest, seconds.  unused: messages that belong to no control period.  repeated: control periods with
    the same message as the one before.  gaps: control periods without a message.  late: the largest distance, ms.
    """

    messages: int
    hz: float | None
    lost: int
    silence: float
    unused: int
    repeated: int
    gaps: int
    late: float


def periods(first: float, last: float, hz: int) -> np.ndarray:
    """Times (n,) of the control periods from ``first`` to at most ``last``, seconds."""
    return first + np.arange(max(0, int(np.floor((last - first) * hz + 1e-6)) + 1)) / hz


def match(stamps: np.ndarray, times: np.ndarray, rule: str, tolerance: float) -> Matched:
    """The message that belongs to each control period.

    Args:
        stamps: times of the messages (m,), seconds, ascending.
        times: of the control periods (n,), seconds.
        rule: ``nearest`` or ``hold``.
        tolerance: seconds.
    """
    if not len(stamps):
        return Matched(np.full(len(times), -1), asdict(SourceReport(0, None, 0, 0.0, 0, 0, len(times), 0.0)))
    # a microsecond for rounded stamps: a message at the very time of the period counts as before it
    before = np.searchsorted(stamps, times + 1e-6, side="right") - 1
    index = before
    if rule == "nearest":
        after = np.minimum(before + 1, len(stamps) - 1)
        nearer = (before < 0) | (np.abs(stamps[after] - times) < np.abs(times - stamps[before]))
        index = np.where(nearer, after, before)
    away = np.where(index < 0, np.inf, np.abs(stamps[np.maximum(index, 0)] - times))
    index = np.where(away <= tolerance + 1e-6, index, -1)
    return Matched(index, asdict(_report(stamps, times, index, away)))


def _report(stamps: np.ndarray, times: np.ndarray, index: np.ndarray, away: np.ndarray) -> SourceReport:
    within = stamps[(stamps >= times[0] - 1e-6) & (stamps <= times[-1] + 1e-6)] if len(times) else stamps[:0]
    steps = np.diff(within)
    usual = float(np.median(steps)) if len(steps) else 0.0
    found = index[index >= 0]
    return SourceReport(
        messages=len(within),
        hz=round(1 / usual, 2) if usual > 0 else None,
        lost=int(np.round(steps[steps > LOST * usual] / usual - 1).sum()) if usual > 0 else 0,
        silence=round(float(steps.max()), 4) if len(steps) else 0.0,
        unused=max(0, len(within) - len(np.unique(found))),
        repeated=int((np.diff(found) == 0).sum()),
        gaps=int((index < 0).sum()),
        late=round(1000 * float(away[index >= 0].max()), 1) if len(found) else 0.0,
    )


def longest_stretch(mask: np.ndarray) -> slice:
    """The longest run of true values in ``mask`` (n,); empty where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=np.int8), [0]])))
    starts, stops = edges[::2], edges[1::2]
    if not len(starts):
        return slice(0, 0)
    k = int(np.argmax(stops - starts))
    return slice(int(starts[k]), int(stops[k]))
