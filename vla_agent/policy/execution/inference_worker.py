"""Inference in its own thread: the controller submits observations and polls chunks without ever blocking."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.errors import VlaAgentError
from vla_agent.policy.execution.realtime import Committed


class InferenceStalled(VlaAgentError):
    """The policy has taken longer for one observation than ``stalled_after``."""


@dataclass(frozen=True)
class InferenceResult:
    """A chunk (T, A), the control step of its observation, and the duration of the inference (s).

    refusal: why the chunk holds the robot still; empty where it does not.  doubt: probability that the instruction can
    not be done, NaN where the policy says nothing of that.
    """

    chunk: np.ndarray
    step: int
    seconds: float
    refusal: str = ""
    doubt: float = math.nan


@dataclass(frozen=True)
class _Request:
    step: int
    observation: Mapping[str, Any]
    committed: Committed | None


class InferenceWorker:
    """Runs a policy in its own thread.  All methods but `close` return at once.

    At most one observation waits: a newer one replaces it.  At most one result waits, likewise.  The next `poll` raises
    the policy's exceptions again.  A policy that hangs cannot be interrupted; `poll` reports it by its age, and the
    thread does not keep the process alive.

    Args:
        policy: with ``reset(instruction)`` and ``act(observation) -> (T, A)``; ``act(..., committed=)`` for "realtime".
        stalled_after: seconds after which `poll` raises `InferenceStalled`.
    """

    def __init__(self, policy: Any, stalled_after: float = 2.0) -> None:
        self._policy, self._stalled_after = policy, stalled_after
        self._wake = threading.Condition()
        self._instruction: tuple[str, dict[str, Any]] | None = None  # for `reset` before the next observation
        self._request: _Request | None = None
        self._result: InferenceResult | None = None
        self._error: BaseException | None = None
        self._episode = 0
        self._started: float | None = None
        self._closed = False
        self.dropped = 0  # observations that a newer one replaced
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def reset(self, instruction: str, **options: Any) -> None:
        """Begin an episode: ``policy.reset(instruction, **options)`` before its first observation.

        Waiting observations and results of the episode before are discarded.
        """
        with self._wake:
            self._episode += 1
            self._instruction = (instruction, options)
            self._request = self._result = self._error = None
            self._wake.notify()

    def submit(self, observation: Mapping[str, Any], step: int, committed: Committed | None = None) -> None:
        """Request the chunk of this observation; an observation that still waits is dropped."""
        with self._wake:
            self.dropped += self._request is not None
            self._request = _Request(step, observation, committed)
            self._wake.notify()

    def poll(self) -> InferenceResult | None:
        """The newest result, once; None where there is no new one.

        Raises:
            InferenceStalled: the policy has been at one observation for ``stalled_after`` seconds.
            Exception: any that the policy raised.
        """
        with self._wake:
            error, self._error = self._error, None
            result, self._result = self._result, None
        if error is not None:
            raise error
        if result is None and self.age > self._stalled_after:
            raise InferenceStalled(
                "the policy does not return",
                key="act()",
                expected=f"a chunk within {self._stalled_after:g} s",
                found=f"nothing after {self.age:.1f} s",
                remedy="stop the robot; is the machine overloaded? raise stalled_after if the policy is this slow",
            )
        return result

    @property
    def age(self) -> float:
        """Seconds since the start of the running inference; 0 where the policy is idle."""
        started = self._started
        return 0.0 if started is None else time.monotonic() - started

    def close(self, timeout: float = 1.0) -> bool:
        """End the thread after the running inference; False where it still hangs after ``timeout`` seconds."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def __enter__(self) -> InferenceWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._request or self._instruction)
                if self._closed:
                    return
                instruction, self._instruction = self._instruction, None
                request, self._request = self._request, None
                episode = self._episode
                self._started = time.monotonic()
            result, error = self._infer(instruction, request)
            with self._wake:
                self._started = None
                if episode == self._episode:
                    self._result, self._error = result or self._result, error or self._error

    def _infer(
        self, instruction: tuple[str, dict[str, Any]] | None, request: _Request | None
    ) -> tuple[InferenceResult | None, BaseException | None]:
        start = time.monotonic()
        try:
            if instruction is not None:
                self._policy.reset(instruction[0], **instruction[1])
            if request is None:
                return None, None
            more = {} if request.committed is None else {"committed": request.committed}
            chunk = np.asarray(self._policy.act(request.observation, **more))
        except BaseException as error:  # of any kind: `poll` raises it in the caller's thread
            return None, error
        refusal = getattr(self._policy, "refusal", None) or ""
        doubt = getattr(self._policy, "doubt", None)
        said = refusal, math.nan if doubt is None else float(doubt.probability)
        return InferenceResult(chunk, request.step, time.monotonic() - start, *said), None
