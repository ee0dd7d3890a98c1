"""A tabletop environment with a variation in every episode."""

from __future__ import annotations

from typing import Any

from sim.perturbations.catalogue import require_effect
from sim.perturbations.variation import Effect, Variation
from sim.tasks.task import TaskInstance


class VariedEnv:
    """A `sim.env.TabletopEnv` with a variation in every episode; for `sim.rollout.run_episode`.

    The scene of a seed is the same as without the variation, except for what the variation changes.
    """

    def __init__(self, env: Any, variation: Variation) -> None:
        self._env, self.variation = env.unwrapped, variation
        self.world, self.contract = self._env.world, self._env.contract
        self.original: TaskInstance | None = None
        self.effect: Effect | None = None

    @property
    def unwrapped(self) -> VariedEnv:
        return self

    def begin(self, seed: int) -> TaskInstance:
        """Lay out the varied episode of a seed and return its task, without rendering.

        Raises:
            OptionError: the variation cannot be applied to this episode.
        """
        self.original = self._env.family.episode(seed, self._env.split)
        self.effect = require_effect(self.variation, self.original, seed)
        self.world.reset(self.effect.task.scene, self.effect.vary)
        return self.effect.task

    def instruction(self, task: TaskInstance) -> str:
        """The instruction for the policy."""
        changed = None if self.effect is None else self.effect.instruction
        return task.instruction if changed is None else changed
