"""The policy loop without ROS: when to observe, what to do in each control step, and when to request a stop."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import ObservationError, VlaAgentError
from vla_agent.policy.execution.async_runner import AsyncRunner
from vla_agent.policy.execution.chunk_executor import ChunkExecutor
from vla_agent.policy.execution.inference_worker import InferenceWorker
from vla_agent.policy.execution.seams import hold
from vla_agent.ros.runtime.observations import Observation, ObservationBuffer
from vla_agent.ros.runtime.timing_statistics import quantiles

PLAN = 11  # actions published: a look-ahead of 0.5 s at 20 Hz, and the action after it, which its last step goes on to
OUT_OF_RANGE = 1.0  # multiples of a component's range beyond its ends: more is a fault of the policy


@dataclass(frozen=True)
class Decision:
    """What to do in one control step.

    ``actions`` (N, A): first row for this step, the others for the next ones; None: nothing to do yet.  ``stop``: why
    the robot must stop; empty where it need not.  ``stamp``: seconds, of the control step.
    """

    stamp: float
    actions: np.ndarray | None = None
    stop: str = ""


@dataclass(frozen=True)
class PolicyLoopSettings:
    """Settings of a `PolicyLoop`.

    Attributes:
        mode: execution mode of chunks, see `vla_agent.policy.execution`.
        execute: control steps until the policy replans.
        seed: of the policy's noise, at each instruction.
        stalled_after: wall-clock seconds of an inference after which the policy counts as hung.
        most_holds: control steps in a row without an action before a stop is requested.
        wait: part of a control period that a step waits for an observation of its own time.
        pace: control seconds that pass in one second of the wall clock.
    """

    mode: str = "open_loop"
    execute: int = 8
    seed: int = 0
    stalled_after: float = 2.0
    most_holds: int = 10
    wait: float = 0.5
    pace: float = 1.0


class PolicyLoop:
    """Runs a policy at the contract's rate, from observations that arrive at any time.

    Control step k begins ``k`` periods after the first observation since the instruction.  It is decided as soon as an
    observation of its own time is there, at the latest ``settings.wait`` of a period after it began.

    Args:
        policy: ``reset(instruction, seed=)``, ``act(observation) -> (T, A)``.
        contract: the policy's.
        buffer: collects the observations.
    """

    def __init__(
        self, policy: Any, contract: Contract, buffer: ObservationBuffer, settings: PolicyLoopSettings | None = None
    ) -> None:
        self._contract, self._buffer, self._settings = contract, buffer, settings or PolicyLoopSettings()
        self._worker = InferenceWorker(policy, self._settings.stalled_after)
        executor = ChunkExecutor(self._settings.mode, contract.chunk_length, self._settings.execute)
        self._runner = AsyncRunner(self._worker, executor, contract.control_hz * self._settings.pace)
        self._period = 1.0 / contract.control_hz
        self.instruction = ""
        self.missed = self.held = 0  # control steps skipped, and held for lack of an action
        self._begin()

    def instruct(self, text: str) -> None:
        """Begin an episode with this instruction; an empty one leaves the policy idle."""
        self.instruction = text.strip()
        self.restart()

    def restart(self) -> None:
        """Restart the episode, with observations that come from now on."""
        self._begin()
        if self.instruction:
            self._runner.reset(self.instruction, seed=self._settings.seed)

    def _begin(self) -> None:
        self._buffer.clear()
        self._start: float | None = None  # seconds, of control step 0
        self._step = 0
        self._previous: np.ndarray | None = None
        self._holds = 0

    @property
    def moving(self) -> bool:
        """Whether an action has been given since the instruction."""
        return self._previous is not None

    @property
    def refusal(self) -> str:
        """Why the policy holds the robot still instead of following the instruction; empty where it does not."""
        return self._runner.refusal

    @property
    def expected_delay(self) -> int:
        """Control steps that an inference takes."""
        return self._runner.expected_delay

    def diagnostics(self) -> dict[str, object]:
        """Counts and durations for /diagnostics."""
        runner = self._runner
        counts: dict[str, object] = {"missed_steps": self.missed, "held_steps": self.held, "late_chunks": runner.late}
        counts["dropped_observations"] = runner.worker.dropped
        counts |= {} if math.isnan(runner.doubt) else {"doubt": round(runner.doubt, 3)}
        return counts | quantiles("inference", runner.seconds)

    def tick(self, now: float) -> Decision | None:
        """Call it several times a period; ``now``: seconds of the clock of the stamps.  None: nothing to do yet.

        It raises nothing: a fault is a `Decision` with ``stop``, or None before the first action.
        """
        if not self.instruction:
            return None
        observation, problem = self._observe(now)
        if self.moving and problem:
            return Decision(now, stop=problem)
        newest = self._buffer.newest() if observation is None else observation.stamp
        if self._start is None:
            if newest is None:
                return None
            self._start, self._step = newest, 0
        began = self._start + self._step * self._period
        if now < began - 0.25 * self._period:
            return None
        current = newest is not None and newest > began - 0.25 * self._period
        if not current and now < began + self._settings.wait * self._period:
            return None
        skipped = int((now - began) / self._period)
        self._step += skipped
        self.missed += skipped if self.moving else 0
        return self._decide(observation)

    def observation_problem(self, now: float) -> str:
        """Why there is no usable observation; empty where there is one."""
        return self._observe(now)[1]

    def _observe(self, now: float) -> tuple[Observation | None, str]:
        """The newest complete observation, and why there is none."""
        try:
            return self._buffer.observe(now), ""
        except ObservationError as error:
            return None, error.what
        except Exception as error:  # as of a policy: it stops the robot, not this process
            return None, f"the observation failed: {type(error).__name__}: {error}"

    def _decide(self, observation: Observation | None) -> Decision | None:
        assert self._start is not None
        step, self._step = self._step, self._step + 1
        stamp = self._start + step * self._period
        if observation is None:  # nothing moves yet
            return None
        try:
            action = self._runner.step(step, lambda: observation.data)
            if action is None:
                if not self.moving:
                    return None
                self._holds, self.held = self._holds + 1, self.held + 1
                if self._holds > self._settings.most_holds:
                    return Decision(stamp, stop=f"no action from the policy for {self._holds} control steps")
                action = hold(self._contract, observation.data["state"], self._previous)
            else:
                self._holds = 0
            wrong = self._out_of_range(action)
        except VlaAgentError as error:
            return Decision(stamp, stop=error.what)
        except Exception as error:  # any exception of a policy stops the robot, not this process
            return Decision(stamp, stop=f"the policy failed: {type(error).__name__}: {error}")
        if wrong:
            return Decision(stamp, stop=wrong)
        self._previous = action
        return Decision(stamp, np.stack([action, *(self._ahead(step) if not self._holds else [])]))

    def _ahead(self, step: int) -> list[np.ndarray]:
        """The known actions after ``step``, from a copy, because executors drop past actions."""
        executor, rows = copy.deepcopy(self._runner.executor), []
        for k in range(1, PLAN):
            row = executor.action(step + k)
            if row is None:
                break
            rows.append(row)
        return rows

    def _out_of_range(self, action: np.ndarray) -> str:
        """The first component that is far out of its range, in words; empty where none is."""
        for name, place in self._contract.slices(self._contract.action).items():
            field = next(f for f in self._contract.action if f.name == name)
            if field.low is None or field.high is None:
                continue
            slack = OUT_OF_RANGE * (field.high - field.low)
            if (action[place] < field.low - slack).any() or (action[place] > field.high + slack).any():
                return f"the policy's {name} {np.round(action[place], 3).tolist()} is far out of range"
        return ""

    def close(self) -> None:
        """End the inference thread."""
        self._worker.close()
