"""Time that the policy takes, counted in control steps."""

from __future__ import annotations

import math


def delay_steps(delay_ms: float, control_hz: float) -> int:
    """Control steps that begin while the policy thinks: ``delay_ms`` rounded up to whole control periods.

    50 ms at 20 Hz are one step, 51 ms are two: a chunk that comes in the middle of a period is used from the next on.
    """
    return math.ceil(delay_ms * control_hz / 1000 - 1e-9)
