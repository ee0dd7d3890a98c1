"""A blank observation, for timing and trying a policy."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_agent.contract.contract import Contract
from vla_agent.contract.state_units import COLUMNS

UNTURNED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def blank_observation(contract: Contract) -> dict[str, Any]:
    """An observation that fits the contract: grey images; a zero state, clipped to its ranges, unturned."""
    images = {c.name: np.full((c.height, c.width, 3), 128, np.uint8) for c in contract.cameras}
    state = np.zeros(contract.state_dim, np.float32)
    for field, place in zip(contract.state, contract.slices(contract.state).values(), strict=True):
        low, high = (-np.inf if field.low is None else field.low), (np.inf if field.high is None else field.high)
        state[place] = np.clip(0.0, low, high)
        if field.rotation == COLUMNS and field.size == len(UNTURNED):
            state[place] = UNTURNED
    return {"images": images, "state": state}
