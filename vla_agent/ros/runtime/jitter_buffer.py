"""A jitter buffer for commands: each waits until the time by which most of the others were ready."""

from __future__ import annotations

from collections import deque

WINDOW = 80  # steps
LEAST = 10  # steps before any command waits
QUANTILE = 0.98  # of the ready times: commands wait for it
MOST_SPREAD = 0.28  # of a period, between the low and the high quantile of the ready times


class JitterBuffer:
    """Evenly spaced commands move a robot more smoothly: an early command waits; a late one delays no other.

    With cameras out of step with the control rate (30 images a second, 20 commands), ready times spread over a large
    part of a period.  Then nothing waits: evenly spaced commands would be made from older images.

    Args:
        period: wall-clock seconds from one step to the next.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._ready: deque[float] = deque(maxlen=WINDOW)  # seconds after the start of the step, up to a constant

    def clear(self) -> None:
        """Forget the ready times: a new stream begins."""
        self._ready.clear()

    def wait(self, step: int, now: float) -> float:
        """Seconds that the step, ready at ``now`` (wall-clock seconds), must wait; call it once a step."""
        self._ready.append(now - step * self._period)
        if len(self._ready) < LEAST:
            return 0.0
        moments = sorted(self._ready)
        usual = moments[round(QUANTILE * (len(moments) - 1))]
        if usual - moments[round((1 - QUANTILE) * (len(moments) - 1))] > MOST_SPREAD * self._period:
            return 0.0
        early = usual + step * self._period - now
        return early if 0 < early <= self._period else 0.0  # more: the clock has jumped
