"""A random state that a robot could have: within its ranges, with rotations that are some."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vla_agent.contract import Contract
from vla_agent.contract.state_units import COLUMNS


def plausible_state(contract: Contract, rng: np.random.Generator) -> np.ndarray:
    """(D,) float32 in the contract's layout."""
    parts = []
    for field in contract.state:
        low, high = -1.0 if field.low is None else field.low, 1.0 if field.high is None else field.high
        values = rng.uniform(low, high, field.size)
        if field.rotation == COLUMNS:
            values = Rotation.from_quat(rng.normal(size=4)).as_matrix()[:, :2].T.ravel()
        parts.append(values)
    return np.concatenate(parts).astype(np.float32)
