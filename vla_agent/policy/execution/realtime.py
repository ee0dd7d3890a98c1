"""Real-time chunking: the next chunk is computed while the present one runs, and continues it.

After Black, Galliker and Levine 2025, "Real-Time Execution of Action Chunking Flow Policies", and VLASH (Tang et al.
2025).  The rows that run before the next chunk arrives are frozen; the chunk is computed for the state after them
(`future_state`), and fades in at the seam (`seams`)::

    row of the next chunk   0 ........ delay ........ decided ........ T
                              frozen         seam          free

Guided sampling towards the decided rows, as in the first paper, is left out: it doubled the latency and showed no gain
over this method (docs/execution.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Committed:
    """Actions that are already decided when the next chunk is computed.

    Args:
        actions: (T, A) in the contract's units; rows from ``decided`` on repeat the last.
        decided: rows that are left of the present chunk.
        delay: rows that will have run before the next chunk arrives; at most ``decided``.
    """

    actions: np.ndarray
    decided: int
    delay: int

    @property
    def frozen(self) -> np.ndarray:
        """(delay, A): the rows that run before the chunk arrives."""
        return self.actions[: self.delay]

    @property
    def left(self) -> np.ndarray:
        """(decided - delay, A): the present chunk's rows after them."""
        return self.actions[self.delay : self.decided]


def commit(ahead: np.ndarray | None, chunk_length: int, delay: int) -> Committed | None:
    """The present chunk's remaining rows (K, A) as the start of the next chunk; None where there are none."""
    if ahead is None:
        return None
    decided = min(len(ahead), chunk_length)
    index = np.minimum(np.arange(chunk_length), decided - 1)
    return Committed(ahead[index], decided, min(delay, decided))
