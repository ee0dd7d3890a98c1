"""Real-time chunking: Black, Galliker and Levine 2025, "Real-Time Execution of Action Chunking Flow Policies".

The next chunk is computed while the present one runs, and is guided towards what will have been executed by then::

    row of the next chunk   0 ........ delay ........ decided ........ T
    weight                  1   frozen   1 ... 0  soft    0  free

A policy here computes the rows after the frozen ones, for the state that the frozen ones lead to (`future`).  Guidance
alone leaves a jump where the new rows begin, which `seam` takes out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Committed:
    """What is already decided about the chunk that is about to be computed.

    Args:
        actions: (T, A) in the contract's units; rows from ``decided`` on repeat the last and weigh nothing.
        decided: rows that the present chunk still has.
        delay: rows that will surely have run before the next chunk comes; at most ``decided``.
    """

    actions: np.ndarray
    decided: int
    delay: int

    def weights(self) -> np.ndarray:
        """(T,) float32, the paper's soft mask: 1 on frozen rows, 0 on free ones, falling between."""
        row = np.arange(len(self.actions), dtype=np.float32)
        share = (self.decided - row) / (self.decided - self.delay + 1)
        soft = share * np.expm1(share) / np.expm1(1.0)
        return np.where(row < self.delay, 1.0, np.where(row < self.decided, soft, 0.0)).astype(np.float32)

    @property
    def frozen(self) -> np.ndarray:
        """(delay, A): the rows that run before the chunk comes."""
        return self.actions[: self.delay]

    def after_delay(self) -> tuple[np.ndarray, np.ndarray]:
        """Target (T, A) and weights (T,) of a chunk whose first row is the first that is not frozen."""
        row = np.arange(len(self.actions)) + self.delay
        inside = np.minimum(row, len(self.actions) - 1)
        return self.actions[inside], np.where(row < self.decided, self.weights()[inside], 0.0).astype(np.float32)


def commit(ahead: np.ndarray | None, chunk_length: int, delay: int) -> Committed | None:
    """The present chunk's rows ahead (K, A) as the next chunk's beginning; None where there are none."""
    if ahead is None:
        return None
    decided = min(len(ahead), chunk_length)
    index = np.minimum(np.arange(chunk_length), decided - 1)
    return Committed(ahead[index], decided, min(delay, decided))
