"""One client's episode: its own instruction and noise on shared weights; and its queue of pending requests."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import ServingError
from vla_agent.serving.protocol_messages import Request


def share_weights(policy: Any) -> Any:
    """A copy of the policy that shares parameters and buffers; everything else is copied."""
    memo: dict[int, Any] = {}
    if hasattr(policy, "parameters"):
        memo = {id(tensor): tensor for tensor in (*policy.parameters(), *policy.buffers())}
    return copy.deepcopy(policy, memo)


class Session:
    """Answers the requests of one client.

    Args:
        policy: ``reset(instruction)`` or ``reset(instruction, seed=)``, ``act(observation) -> (T, A)``.
        contract: of the policy.
    """

    def __init__(self, policy: Any, contract: Contract) -> None:
        self._shared, self._contract = policy, contract
        self._policy: Any = None  # created in the inference thread
        self._seeds = "seed" in inspect.signature(policy.reset).parameters
        self._continues = takes_committed(policy)
        self._prompt: str | None = None

    @property
    def doubt(self) -> float | None:
        """Probability that the instruction can not be done; None where the policy says nothing of that."""
        doubt = getattr(self._policy, "doubt", None)
        return None if doubt is None else float(doubt.probability)

    @property
    def refusal(self) -> str:
        """Why the last chunk holds the robot still; empty where it does not."""
        return getattr(self._policy, "refusal", None) or ""

    def infer(self, request: Request) -> np.ndarray:
        """The chunk (T, A) for one request; an episode begins with ``reset`` and with another instruction.

        Raises:
            ServingError: there is no instruction, or committed actions for a policy that cannot continue chunks.
            Exception: any that the policy raises.
        """
        if request.committed is not None and not self._continues:
            raise ServingError(
                "this policy cannot continue a chunk",
                key="committed",
                expected="no committed actions: the metadata has realtime false",
                found="committed actions",
                remedy="execute its chunks open loop or by an ensemble",
            )
        prompt = request.prompt if request.prompt is not None else self._prompt
        if prompt is None:
            raise ServingError(
                "the policy has no instruction",
                key="prompt",
                expected="an instruction with the first observation",
                found="none",
                remedy='add "prompt" to the request',
            )
        if self._policy is None:
            self._policy = share_weights(self._shared)
        if request.reset or prompt != self._prompt:
            self._policy.reset(prompt, **({"seed": request.seed or 0} if self._seeds else {}))
            self._prompt = prompt
        more = {} if request.committed is None else {"committed": request.committed}
        return self._contract.check_chunk(self._policy.act(request.observation, **more))


def can_refuse(policy: Any) -> bool:
    """Whether it says why a chunk holds the robot still."""
    if (metadata := getattr(policy, "metadata", None)) is not None:  # of a remote policy
        return bool(metadata.refuses)
    return any(getattr(policy, name, None) is not None for name in ("doubter", "reader"))


def takes_committed(policy: Any) -> bool:
    """Whether it supports the mode "realtime": ``act`` takes ``committed``."""
    if (metadata := getattr(policy, "metadata", None)) is not None:  # of a remote policy
        return bool(metadata.realtime)
    return "committed" in inspect.signature(policy.act).parameters


class PendingRequests:
    """The newest ``size`` requests of a client; when it is full, the oldest is dropped, never the newest.

    Only the observation of a dropped request is lost: the next request takes over its reset, instruction and seed.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._requests: deque[Request] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> None:
        """Add the newest request."""
        self._requests.append(request)
        while len(self._requests) > self._size:
            self._drop()

    def take(self) -> Request:
        """Remove and return the oldest."""
        return self._requests.popleft()

    def _drop(self) -> None:
        old, following = self._requests.popleft(), self._requests[0]
        self.dropped += 1
        own = following.prompt is not None and following.reset
        self._requests[0] = replace(
            following,
            prompt=old.prompt if following.prompt is None else following.prompt,
            seed=following.seed if own or following.seed is not None else old.seed,
            reset=following.reset or old.reset,
            committed=None if old.reset else following.committed,  # committed actions of the episode before are void
        )
