"""Inference in a thread of its own: the controller hands over observations, takes chunks, and is never blocked."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.errors import VlaAgentError
from vla_agent.policy.execution.realtime import Committed


class InferenceStalled(VlaAgentError):
    """The policy has been at one observation for longer than it may."""


@dataclass(frozen=True)
class Answer:
    """A chunk (T, A), the control step whose observation it was computed from, and how long that took (s)."""

    chunk: np.ndarray
    step: int
    seconds: float


@dataclass(frozen=True)
class _Question:
    step: int
    observation: Mapping[str, Any]
    committed: Committed | None


class InferenceWorker:
    """Runs a policy in its own thread.  All methods but `close` return at once.

    One observation waits at most: a newer one takes its place, the older is dropped.  One answer waits at most,
    likewise.  What the policy raises is raised again by the next `poll`.  A policy that hangs cannot be interrupted;
    `poll` tells by its age, and the thread never keeps the process alive.

    Args:
        policy: with ``reset(instruction)`` and ``act(observation) -> (T, A)``; ``act(..., committed=)`` for "realtime".
        stalled_after: seconds after which `poll` raises `InferenceStalled`.
    """

    def __init__(self, policy: Any, stalled_after: float = 2.0) -> None:
        self._policy, self._stalled_after = policy, stalled_after
        self._wake = threading.Condition()
        self._instruction: tuple[str, dict[str, Any]] | None = None  # to be told before the next observation
        self._question: _Question | None = None
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._episode = 0
        self._began: float | None = None
        self._closed = False
        self.dropped = 0  # observations that a newer one replaced
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def reset(self, instruction: str, **options: Any) -> None:
        """Begin an episode: ``policy.reset(instruction, **options)`` before its first observation.

        What waits or is being computed for the episode before is thrown away.
        """
        with self._wake:
            self._episode += 1
            self._instruction = (instruction, options)
            self._question = self._answer = self._error = None
            self._wake.notify()

    def submit(self, observation: Mapping[str, Any], step: int, committed: Committed | None = None) -> None:
        """Have the chunk of this observation computed; an observation that still waits is dropped for it."""
        with self._wake:
            self.dropped += self._question is not None
            self._question = _Question(step, observation, committed)
            self._wake.notify()

    def poll(self) -> Answer | None:
        """The newest answer, once; None where there is no new one.

        Raises:
            InferenceStalled: the policy has been at one observation for ``stalled_after`` seconds.
            Exception: whatever the policy raised.
        """
        with self._wake:
            error, self._error = self._error, None
            answer, self._answer = self._answer, None
        if error is not None:
            raise error
        if answer is None and self.age > self._stalled_after:
            raise InferenceStalled(
                "the policy does not answer",
                key="act()",
                expected=f"a chunk within {self._stalled_after:g} s",
                found=f"nothing after {self.age:.1f} s",
                remedy="stop the robot; is the machine overloaded? raise stalled_after if the policy is this slow",
            )
        return answer

    @property
    def age(self) -> float:
        """Seconds since the policy began what it is doing; 0 where it is idle."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def close(self, timeout: float = 1.0) -> bool:
        """End the thread after what it is doing; False where it still hangs after ``timeout`` seconds."""
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
                self._wake.wait_for(lambda: self._closed or self._question or self._instruction)
                if self._closed:
                    return
                instruction, self._instruction = self._instruction, None
                question, self._question = self._question, None
                episode = self._episode
                self._began = time.monotonic()
            answer, error = self._think(instruction, question)
            with self._wake:
                self._began = None
                if episode == self._episode:
                    self._answer, self._error = answer or self._answer, error or self._error

    def _think(
        self, instruction: tuple[str, dict[str, Any]] | None, question: _Question | None
    ) -> tuple[Answer | None, BaseException | None]:
        begun = time.monotonic()
        try:
            if instruction is not None:
                self._policy.reset(instruction[0], **instruction[1])
            if question is None:
                return None, None
            more = {} if question.committed is None else {"committed": question.committed}
            chunk = np.asarray(self._policy.act(question.observation, **more))
        except BaseException as error:  # whatever it is, the caller has to know
            return None, error
        return Answer(chunk, question.step, time.monotonic() - begun), None
