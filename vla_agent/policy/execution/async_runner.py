"""Executor and worker together: one call a control step, as a robot's control loop makes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vla_agent.policy.execution.chunk_executor import ChunkExecutor
from vla_agent.policy.execution.inference_worker import InferenceWorker
from vla_agent.policy.execution.seams import delay_steps

MEASURED = 200  # inferences whose durations are kept
REMEMBERED = 10  # of them, those whose longest duration is the expected delay, as in real-time chunking


class AsyncRunner:
    """Drives a policy that thinks in its own thread.

    Args:
        worker: runs the policy.
        executor: decides which action and when to look.
        control_hz: rate at which `step` is called.
    """

    def __init__(self, worker: InferenceWorker, executor: ChunkExecutor, control_hz: float) -> None:
        self.worker, self.executor, self.control_hz = worker, executor, control_hz
        self.seconds: deque[float] = deque(maxlen=MEASURED)  # that inferences took
        self.late = 0  # chunks that came when all of their control steps were over
        self._recent: deque[float] = deque(maxlen=REMEMBERED)

    def reset(self, instruction: str, **options: Any) -> None:
        """Begin an episode with control step 0."""
        self.worker.reset(instruction, **options)
        self.executor.reset()

    @property
    def expected_delay(self) -> int:
        """Control steps that the next inference may take: the longest of the last ones, 1 before the first."""
        return max(1, delay_steps(1000 * max(self._recent, default=0.0), self.control_hz))

    def step(self, step: int, look: Callable[[], Mapping[str, Any]]) -> np.ndarray | None:
        """The action (A,) of control step ``step``, at once; None: hold.

        Args:
            look: gives the observation; called only when an inference is to be started.

        Raises:
            InferenceStalled: the policy hangs.
            Exception: whatever the policy raised.
        """
        answer = self.worker.poll()
        if answer is not None:
            self.seconds.append(answer.seconds)
            self._recent.append(answer.seconds)
            self.late += step - answer.step >= len(answer.chunk)
            self.executor.add(answer.chunk, answer.step)
        if self.executor.due(step):
            self.worker.submit(look(), step, self.executor.request(step, self.expected_delay))
        return self.executor.action(step)
