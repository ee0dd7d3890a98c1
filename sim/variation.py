"""An episode that differs from the one its seed gives: by a perturbation, or by a counterfactual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.task import TaskInstance


@dataclass(frozen=True)
class Effect:
    """What a variation does to one episode.

    Attributes:
        task: the task that is asked and counted, with its scene.
        vary: given to `sim.world.World.reset`; None where the world stays as it is.
        told: the instruction, where it is not the task's own.
        detail: what was drawn, in words.
    """

    task: TaskInstance
    vary: Callable[[Any], None] | None = None
    told: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Variation:
    """An axis of `sim.perturbations.AXES` with a severity of 1 to 3, or a probe of `PROBES` with severity 0."""

    name: str
    severity: int = 0


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
        from sim.perturbations import effect

        self.original = self._env.family.episode(seed, self._env.split)
        self.effect = effect(self.variation, self.original, seed)
        self.world.reset(self.effect.task.scene, self.effect.vary)
        return self.effect.task

    def instruction(self, task: TaskInstance) -> str:
        """What the policy is told."""
        return task.instruction if self.effect is None or self.effect.told is None else self.effect.told
