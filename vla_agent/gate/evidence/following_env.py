"""An environment that follows recorded actions, whatever the policy proposes, so that both can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.tasks.task import TaskInstance
from vla_agent.errors import CertificateError


class FollowingEnv:
    """A `sim.env.TabletopEnv` or `VariedEnv` whose world executes ``actions`` (N, A); for `sim.rollout.run_episode`."""

    def __init__(self, env: Any, actions: np.ndarray) -> None:
        self._env = env.unwrapped
        self.world: Any = _FollowingWorld(self._env.world, actions)
        self.contract = self._env.contract

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    @property
    def unwrapped(self) -> FollowingEnv:
        return self

    def begin(self, seed: int) -> TaskInstance:
        """Lay out the episode of a seed."""
        self.world.restart()
        task: TaskInstance = self._env.begin(seed)
        return task


class _FollowingWorld:
    def __init__(self, world: Any, actions: np.ndarray) -> None:
        self._world, self._actions, self._next = world, actions, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def restart(self) -> None:
        self._next = 0

    def step(self, action: np.ndarray) -> None:
        """One control period, with the recorded action."""
        if self._next >= len(self._actions):
            raise CertificateError(
                "the recorded actions end before the episode does",
                key="actions",
                expected="an action for every control period",
                found=f"{len(self._actions)} actions",
                remedy="get the evidence again, or run the gate again",
            )
        self._world.step(self._actions[self._next])
        self._next += 1
