"""A tabletop whose episodes are varied."""

from __future__ import annotations

from typing import Any

from sim.perturbations.catalogue import effect
from sim.perturbations.variation import Effect, Variation
from sim.tasks.task import TaskInstance


class VariedEnv:
    """A `sim.env.TabletopEnv` whose episodes are varied; for `sim.rollout.run_episode`.

    The same seed gives the same scene as without the variation, apart from what the variation says.
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
            OptionError: the episode does not admit the variation.
        """
        self.original = self._env.family.episode(seed, self._env.split)
        self.effect = effect(self.variation, self.original, seed)
        self.world.reset(self.effect.task.scene, self.effect.vary)
        return self.effect.task

    def instruction(self, task: TaskInstance) -> str:
        """What the policy is told."""
        return task.instruction if self.effect is None or self.effect.told is None else self.effect.told
