"""A blank observation, for timing and trying a policy."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_agent.contract.contract import Contract


def blank_observation(contract: Contract) -> dict[str, Any]:
    """An observation that fits the contract: grey images; a zero state, clipped to its ranges."""
    images = {c.name: np.full((c.height, c.width, 3), 128, np.uint8) for c in contract.cameras}
    state = np.zeros(contract.state_dim, np.float32)
    for field, place in zip(contract.state, contract.slices(contract.state).values(), strict=True):
        low, high = (-np.inf if field.low is None else field.low), (np.inf if field.high is None else field.high)
        state[place] = np.clip(0.0, low, high)
    return {"images": images, "state": state}
