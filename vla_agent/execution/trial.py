"""To try a policy with: an observation of nothing, and how long a chunk takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from vla_agent.contract import Contract

WARM_UP = 5


def blank_observation(contract: Contract) -> dict[str, Any]:
    """An observation that fits the contract: grey pictures; a state at rest, within its ranges."""
    images = {c.name: np.full((c.height, c.width, 3), 128, np.uint8) for c in contract.cameras}
    state = np.zeros(contract.state_dim, np.float32)
    for field, place in zip(contract.state, contract.slices(contract.state).values(), strict=True):
        low, high = (-np.inf if field.low is None else field.low), (np.inf if field.high is None else field.high)
        state[place] = np.clip(0.0, low, high)
    return {"images": images, "state": state}


def inference_times(policy: Any, observation: Mapping[str, Any], instruction: str, count: int = 60) -> list[float]:
    """Milliseconds of each of ``count`` inferences from the same observation, after a few to warm up."""
    policy.reset(instruction)
    taken = []
    for _ in range(WARM_UP + count):
        begun = time.perf_counter()
        policy.act(observation)
        taken.append(1000 * (time.perf_counter() - begun))
    return taken[WARM_UP:]
