"""Even commands from pictures that come unevenly: each waits for the moment by which most others were ready."""

from __future__ import annotations

from collections import deque

MEMORY = 80  # steps
LEAST = 10  # steps before anything waits
SHARE = 0.98  # of the steps that were ready by the moment waited for
MOST = 0.28  # of a period, that the moments of readiness may be spread over


class Metronome:
    """Commands that come evenly move a robot better: one that is ready early waits, one that is late is late alone.

    Cameras that are not in step with the control rate (30 pictures a second, 20 commands) are ready at moments spread
    over a good part of a period.  They are not waited for: even commands would be made of older pictures.

    Args:
        period: seconds of the wall from one step to the next.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._ready: deque[float] = deque(maxlen=MEMORY)  # seconds after the beat, up to a constant

    def clear(self) -> None:
        """Steps are counted anew."""
        self._ready.clear()

    def wait(self, step: int, now: float) -> float:
        """Seconds that the step, ready at ``now`` (s of the wall), is to wait; to be asked once a step."""
        self._ready.append(now - step * self._period)
        if len(self._ready) < LEAST:
            return 0.0
        moments = sorted(self._ready)
        usual = moments[round(SHARE * (len(moments) - 1))]
        if usual - moments[round((1 - SHARE) * (len(moments) - 1))] > MOST * self._period:
            return 0.0
        early = usual + step * self._period - now
        return early if 0 < early <= self._period else 0.0  # more is no early step, but a clock that jumped
