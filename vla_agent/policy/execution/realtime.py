"""Real-time chunking: the next chunk is computed while the present one runs, and continues it.

After Black, Galliker and Levine 2025, "Real-Time Execution of Action Chunking Flow Policies", and VLASH (Tang et al.
2025).  The rows that run before the next chunk comes are frozen; it is computed for the state that they lead to
(`future`), and fades in where it takes over (`seam`)::

    row of the next chunk   0 ........ delay ........ decided ........ T
                              frozen         seam          free

Guided sampling towards the rows that are decided, as in the first of the two, is not here: it doubled the latency, and
showed no gain beside the two others (docs/execution.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Committed:
    """What is already decided about the chunk that is about to be computed.

    Args:
        actions: (T, A) in the contract's units; rows from ``decided`` on repeat the last.
        decided: rows that the present chunk still has.
        delay: rows that will surely have run before the next chunk comes; at most ``decided``.
    """

    actions: np.ndarray
    decided: int
    delay: int

    @property
    def frozen(self) -> np.ndarray:
        """(delay, A): the rows that run before the chunk comes."""
        return self.actions[: self.delay]

    @property
    def left(self) -> np.ndarray:
        """(decided - delay, A): what the present chunk would do behind them."""
        return self.actions[self.delay : self.decided]


def commit(ahead: np.ndarray | None, chunk_length: int, delay: int) -> Committed | None:
    """The present chunk's rows ahead (K, A) as the next chunk's beginning; None where there are none."""
    if ahead is None:
        return None
    decided = min(len(ahead), chunk_length)
    index = np.minimum(np.arange(chunk_length), decided - 1)
    return Committed(ahead[index], decided, min(delay, decided))
