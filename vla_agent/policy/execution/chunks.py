"""Chunks that overlap in time, shared by all execution modes."""

from __future__ import annotations

import numpy as np


class Chunks:
    """Chunks (T, A) by the control step of their observation, oldest first; row i of a chunk is for step + i.

    ::

        control step   0   1   2   3   4   5   6   7
        chunk of 0     r0  r1  r2  r3  r4  r5
        chunk of 2             r0  r1  r2  r3  r4  r5
    """

    def __init__(self) -> None:
        self._chunks: dict[int, np.ndarray] = {}

    def add(self, chunk: np.ndarray, step: int) -> None:
        """Keep ``chunk`` (T, A), computed from the observation of control step ``step``."""
        self._chunks[step] = chunk
        self._chunks = dict(sorted(self._chunks.items()))

    def forget(self, before: int) -> None:
        """Drop what ends before control step ``before``."""
        self._chunks = {s: c for s, c in self._chunks.items() if s + len(c) > before}

    def rows(self, step: int) -> np.ndarray:
        """(K, A): the rows for ``step`` of the K chunks that cover it, oldest chunk first.  K may be 0."""
        rows = [c[step - s] for s, c in self._chunks.items() if 0 <= step - s < len(c)]
        return np.array(rows, np.float32)

    def ahead(self, step: int) -> np.ndarray | None:
        """(K, A): the newest chunk's rows for ``step`` and after; None where no row is left."""
        if not self._chunks:
            return None
        newest, chunk = list(self._chunks.items())[-1]
        rest = chunk[max(step - newest, 0) :]
        return rest if newest <= step and len(rest) else None
