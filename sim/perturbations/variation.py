"""Variations of an episode: a perturbation or a counterfactual, and its effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.tasks.task import TaskInstance


@dataclass(frozen=True)
class Effect:
    """What a variation does to one episode.

    Attributes:
        task: the task that is evaluated, with its scene.
        vary: for `sim.world.world.World.reset`; None where the world is not changed.
        instruction: given to the policy, where it is not the task's own.
        detail: what was drawn, in words.
    """

    task: TaskInstance
    vary: Callable[[Any], None] | None = None
    instruction: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Variation:
    """An axis of `catalogue.AXES` with a severity of 1 to 3, or a probe of `PROBES` with severity 0."""

    name: str
    severity: int = 0
