"""An episode that differs from the one its seed gives: by a perturbation, or by a counterfactual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.tasks.task import TaskInstance


@dataclass(frozen=True)
class Effect:
    """What a variation does to one episode.

    Attributes:
        task: the task that is asked and counted, with its scene.
        vary: given to `sim.world.world.World.reset`; None where the world stays as it is.
        told: the instruction, where it is not the task's own.
        detail: what was drawn, in words.
    """

    task: TaskInstance
    vary: Callable[[Any], None] | None = None
    told: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Variation:
    """An axis of `catalogue.AXES` with a severity of 1 to 3, or a probe of `PROBES` with severity 0."""

    name: str
    severity: int = 0
