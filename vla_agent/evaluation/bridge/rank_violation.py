"""Whether the simulator puts policies, or tasks, in the order that they have on the robot: SIMPLER's two measures.

Li et al., "Evaluating real-world robot manipulation policies in simulation" (CoRL 2024), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_maximum_rank_violation(simulated: Sequence[float], real: Sequence[float]) -> float:
    """SIMPLER's MMRV: for each policy, the largest difference in real rates to one that the simulator puts on the
    wrong side of it; the mean over policies.  0 is best, 1 worst.  A tie on one side alone counts as in their code."""
    s, r = np.asarray(simulated, float), np.asarray(real, float)
    wrong_side = (s[:, None] > s) != (r[:, None] > r)
    return float((np.abs(r[:, None] - r) * wrong_side).max(axis=1).mean())


def pearson(simulated: Sequence[float], real: Sequence[float]) -> float | None:
    """Pearson's correlation of the rates; None for fewer than two, or where one side is always the same."""
    s, r = np.asarray(simulated, float), np.asarray(real, float)
    if len(s) < 2 or np.ptp(s) == 0 or np.ptp(r) == 0:
        return None
    return float(np.corrcoef(s, r)[0, 1])
