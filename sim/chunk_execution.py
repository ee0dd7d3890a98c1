"""From a policy's chunks to one action per control step: open loop without latency, or through an executor with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sim.policies import Policy
from vla_agent.contract import Contract
from vla_agent.errors import ContractError
from vla_agent.policy.execution import ChunkExecutor, hold

Observe = Callable[[], dict[str, Any]]  # returns the present observation, as `Policy.act` takes it


def open_loop(policy: Policy, observe: Observe, contract: Contract) -> Iterator[np.ndarray]:
    """Actions (A,) without end: ``policy.execute`` rows of each chunk.  The simulation is paused during inference."""
    while True:
        yield from _checked(contract, policy.act(observe()))[: policy.execute]


def delayed(
    policy: Policy,
    observe: Observe,
    state: Callable[[], np.ndarray],
    contract: Contract,
    executor: ChunkExecutor,
    delay: int,
) -> Iterator[np.ndarray]:
    """Actions (A,) without end, where every chunk arrives ``delay`` control steps after its observation.

    The simulation goes on during inference: the robot executes the rest of the previous chunk.  Where there is none, as
    in the first ``delay`` steps of an episode, it holds its position.  Only one inference runs at a time.
    ``state`` returns the robot's present state (D,).
    """
    executor.reset()
    action: np.ndarray | None = None
    pending: tuple[int, np.ndarray] | None = None  # control step of the observation, chunk
    step = 0
    while True:
        if pending is not None and step >= pending[0] + delay:
            executor.add(pending[1], pending[0])
            pending = None
        if executor.due(step):
            observation, committed = observe(), executor.request(step, delay)
            options = {} if committed is None else {"committed": committed}
            chunk = _checked(contract, policy.act(observation, **options))
            if delay:
                pending = (step, chunk)
            else:
                executor.add(chunk, step)
        planned = executor.action(step)
        action = hold(contract, state(), action) if planned is None else planned
        yield action
        step += 1


def _checked(contract: Contract, chunk: Any) -> np.ndarray:
    if not isinstance(chunk, np.ndarray) and not hasattr(chunk, "__array__"):
        raise ContractError(
            "the policy returned a chunk that is not an array",
            key="act()",
            expected=f"(T, {contract.action_dim}) numbers",
            found=type(chunk).__name__,
            remedy="return a numpy array, one row per control period",
        )
    return contract.check_chunk(chunk)
