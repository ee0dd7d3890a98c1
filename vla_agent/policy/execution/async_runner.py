"""Executor and worker together: one call a control step, as a robot's control loop makes it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vla_agent.policy.execution.chunk_executor import ChunkExecutor
from vla_agent.policy.execution.inference_worker import InferenceWorker
from vla_agent.policy.execution.seams import delay_steps

MEASURED = 200  # inferences whose durations are kept
RECENT = 10  # the longest of these durations is the expected delay, as in real-time chunking


class AsyncRunner:
    """Runs a policy whose inference has its own thread.

    Args:
        worker: runs the policy.
        executor: chooses the action, and when to observe again.
        control_hz: rate at which `step` is called.
    """

    def __init__(self, worker: InferenceWorker, executor: ChunkExecutor, control_hz: float) -> None:
        self.worker, self.executor, self.control_hz = worker, executor, control_hz
        self.seconds: deque[float] = deque(maxlen=MEASURED)  # duration of each inference
        self.doubt = math.nan  # that the instruction can not be done; NaN where the policy says nothing of that
        self.refusal = ""  # why the newest chunk holds the robot still; empty where it does not
        self.late = 0  # chunks that arrived after the last of their control steps
        self._recent: deque[float] = deque(maxlen=RECENT)

    def reset(self, instruction: str, **options: Any) -> None:
        """Begin an episode with control step 0."""
        self.refusal, self.doubt = "", math.nan
        self.worker.reset(instruction, **options)
        self.executor.reset()

    @property
    def expected_delay(self) -> int:
        """Control steps of the next inference: the longest of the recent ones, 1 before the first."""
        return max(1, delay_steps(1000 * max(self._recent, default=0.0), self.control_hz))

    def step(self, step: int, observe: Callable[[], Mapping[str, Any]]) -> np.ndarray | None:
        """The action (A,) of control step ``step``, at once; None: hold.

        Args:
            observe: returns the observation; called only when an inference starts.

        Raises:
            InferenceStalled: the policy hangs.
            Exception: any that the policy raised.
        """
        result = self.worker.poll()
        if result is not None:
            self.refusal, self.doubt = result.refusal, result.doubt
            self.seconds.append(result.seconds)
            self._recent.append(result.seconds)
            self.late += step - result.step >= len(result.chunk)
            self.executor.add(result.chunk, result.step)
        if self.executor.due(step):
            self.worker.submit(observe(), step, self.executor.request(step, self.expected_delay))
        return self.executor.action(step)
