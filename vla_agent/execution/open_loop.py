"""Open loop: the newest chunk's rows, one after the other; the next chunk replaces it when it comes."""

from __future__ import annotations

import numpy as np


def newest(rows: np.ndarray) -> np.ndarray:
    """(K, A) wishes for one control step, oldest chunk first -> (A,) the newest chunk's."""
    return rows[-1]
