"""From a policy to one action a control step: at once and open loop, or through an executor with a thinking time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sim.policies import Policy
from vla_agent.contract import Contract
from vla_agent.errors import ContractError
from vla_agent.policy.execution import ChunkExecutor, hold

Look = Callable[[], dict[str, Any]]


def open_loop(policy: Policy, look: Look, contract: Contract) -> Iterator[np.ndarray]:
    """Actions (A,) without end: ``policy.execute`` rows of each chunk; the world waits while the policy thinks."""
    while True:
        yield from _checked(contract, policy.act(look()))[: policy.execute]


def delayed(
    policy: Policy, look: Look, state: Callable[[], np.ndarray], contract: Contract, executor: ChunkExecutor, delay: int
) -> Iterator[np.ndarray]:
    """Actions (A,) without end, while every chunk comes ``delay`` control steps after its observation.

    The world goes on: rows of the chunk before are carried out, and the arm holds where there are none, as in the first
    ``delay`` steps of an episode.  One inference is under way at a time.  ``state`` gives the present state (D,).
    """
    executor.reset()
    action: np.ndarray | None = None
    under_way: tuple[int, np.ndarray] | None = None  # control step of the observation, chunk
    step = 0
    while True:
        if under_way is not None and step >= under_way[0] + delay:
            executor.add(under_way[1], under_way[0])
            under_way = None
        if executor.due(step):
            observation, committed = look(), executor.request(step, delay)
            more = {} if committed is None else {"committed": committed}
            chunk = _checked(contract, policy.act(observation, **more))
            if delay:
                under_way = (step, chunk)
            else:
                executor.add(chunk, step)
        wanted = executor.action(step)
        action = hold(contract, state(), action) if wanted is None else wanted
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
