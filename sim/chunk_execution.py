"""From a policy's chunks to one action per control step: open loop without latency, or through an executor with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from sim.policies import Policy
from vla_agent.contract import Contract
from vla_agent.errors import ContractError
from vla_agent.policy.execution import ChunkExecutor, hold


class Observer(Protocol):
    """Gives the present observation of the world."""

    def observe(self) -> dict[str, Any]:
        """What `Policy.act` takes."""
        ...

    def state(self) -> np.ndarray:
        """(D,) the robot's state alone."""
        ...


def open_loop(policy: Policy, observer: Observer, contract: Contract) -> Iterator[np.ndarray]:
    """Actions (A,) without end: ``policy.execute`` rows of each chunk.  The simulation is paused during inference."""
    while True:
        yield from _checked(contract, policy.act(observer.observe()))[: policy.execute]


def delayed(
    policy: Policy, observer: Observer, contract: Contract, executor: ChunkExecutor, delay: int
) -> Iterator[np.ndarray]:
    """Actions (A,) without end, where every chunk arrives ``delay`` control steps after its observation.

    The simulation goes on during inference: the robot executes the rest of the previous chunk.  Where there is none, as
    in the first ``delay`` steps of an episode, it holds its position.  Only one inference runs at a time.
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
            observation, committed = observer.observe(), executor.request(step, delay)
            options = {} if committed is None else {"committed": committed}
            chunk = _checked(contract, policy.act(observation, **options))
            if delay:
                pending = (step, chunk)
            else:
                executor.add(chunk, step)
        planned = executor.action(step)
        action = hold(contract, observer.state(), action) if planned is None else planned
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
