"""The policy protocol, and the policies that need no learning: expert, random, replay.

A policy must offer ``execute``, ``reset`` and ``act``.  `run_episode` also uses these, where a policy has them:

- ``looks`` (bool, default True): False where the policy does not use images; then none are rendered for it;
- ``bind(world, task)``: called before ``reset``, for policies that may read the simulator's state;
- ``reset(instruction, seed=...)``: where ``reset`` takes a seed, it gets the episode's, for all of its randomness;
- ``refusal`` (str or None): after ``act``, why the chunk holds the arm still; None where it does not;
- ``contract`` (`vla_agent.contract.Contract`): compared with the environment's before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sim.experts.expert import Expert
from sim.tasks.task import TaskInstance
from sim.world.world import World

ACTION_LIMIT = np.array([0.025] * 3 + [0.15] * 3, np.float32)  # metres and radians per control period, mode ee_delta


class Policy(Protocol):
    """Returns chunks of actions; ``execute`` rows of a chunk are executed before the policy observes again."""

    execute: int

    def reset(self, instruction: str) -> None: ...

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """(T, A) float32, one row per control period."""
        ...


class ExpertPolicy:
    """The scripted expert of the task.  Decides from the simulator's state in every control period, not from the words.

    ``noise`` above 0 disturbs it as it disturbs demonstrations (`sim.experts.disturbance`).
    """

    execute = 1
    looks = False

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def bind(self, world: World, task: TaskInstance) -> None:
        self._world, self._task = world, task

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._expert = Expert(self._world, self._task, rng=np.random.default_rng([seed, 101]), noise=self.noise)

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        action = self._expert.decide().executed if self.noise else self._expert.action()
        return np.asarray(action, np.float32)[None]


class RandomPolicy:
    """Draws one action uniformly within the limits and holds it for ``execute`` control periods.

    Held actions move the arm farther than white noise does, so this is the stronger of the two random baselines.
    """

    looks = False

    def __init__(self, execute: int = 8) -> None:
        self.execute = execute
        self.reset("")

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._rng = np.random.default_rng([seed, 102])

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        motion = self._rng.uniform(-ACTION_LIMIT, ACTION_LIMIT)
        action = np.append(motion, self._rng.integers(2)).astype(np.float32)
        return np.tile(action, (self.execute, 1))


class ReplayPolicy:
    """Executes recorded actions (N, A).  ``looks``: the control steps at which images are rendered again."""

    def __init__(self, actions: np.ndarray, looks: tuple[int, ...] = ()) -> None:
        self.actions = np.asarray(actions, np.float32)
        self.looks = len(looks) > 0
        starts = [int(look) for look in looks] or [0]
        self._spans = list(zip(starts, [*starts[1:], len(self.actions)], strict=True))
        self.reset("")

    def reset(self, instruction: str) -> None:
        self._next = 0
        self.execute = 0

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        start, stop = self._spans[self._next]
        self._next += 1
        self.execute = stop - start
        return self.actions[start:stop]
