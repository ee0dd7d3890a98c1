"""Statistics for /diagnostics: a rate from a count, and quantiles of durations; computed when they are published."""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np

SHORTEST = 0.5  # seconds that a rate is measured over; statuses may come faster


class RateMeter:
    """Events a second, from their total count."""

    def __init__(self) -> None:
        self._count, self._since, self._rate = 0, time.monotonic(), 0.0

    def __call__(self, count: int) -> str:
        """``count``: events so far.  The rate since the last call, in Hz of wall-clock time."""
        now = time.monotonic()
        if now - self._since >= SHORTEST:
            self._rate = (count - self._count) / (now - self._since)
            self._count, self._since = count, now
        return f"{self._rate:.1f}"


def quantiles(name: str, seconds: Collection[float]) -> dict[str, object]:
    """``NAME p50 ms`` and ``NAME p99 ms``; nothing where there are no durations."""
    if not seconds:
        return {}
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return {f"{name} p50 ms": f"{p50:.2f}", f"{name} p99 ms": f"{p99:.2f}"}
