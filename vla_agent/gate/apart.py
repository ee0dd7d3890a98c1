"""Perception and control apart: the same head, told where target and goal truly are in place of where it saw them.

What it then does right, it failed at by not finding the place; what it still does wrong, by its motion.  Its other
features stay those of the pictures, so that a head which reads more from them than the places is not wholly told.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim.experts import Expert
from sim.task import TaskInstance
from sim.world import World
from vla_agent.evaluation.statistics import paired_difference
from vla_agent.gate.statistics import clopper_pearson, mcnemar
from vla_agent.models.truth import Truth

ORACLE = "oracle"  # the cell, and the check of the gate file


def takes_truth(policy: Any) -> bool:
    """Whether a policy can be told: ``act`` has an argument ``truth``, and the head sees places in numbers."""
    return "truth" in inspect.signature(policy.act).parameters and getattr(policy, "takes_places", True)


class Told:
    """A policy that is told at every look what to handle now and where it goes (`sim.experts.Expert.subgoal`)."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def bind(self, world: World, task: TaskInstance) -> None:
        if hasattr(self._policy, "bind"):
            self._policy.bind(world, task)
        self._world, self._expert = world, Expert(world, task)

    def act(self, observation: Mapping[str, Any], **more: Any) -> np.ndarray:
        """The chunk (T, A) of an observation and of the truth at the same time."""
        located = self._expert.subgoal()
        points = np.stack([self._world.project(name, located) for name in self._policy.contract.camera_names])
        return self._policy.act(observation, truth=Truth(points, located), **more)


def part(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """What pairs (told, from its pictures) on the same seeds say.

    ``perception``: failures that it does right once told; ``control``: failures that it fails at all the same; each as
    k of n failures with an exact interval.  ``only_second``: what it does right from its pictures alone.
    """
    difference = paired_difference([told for told, _ in pairs], [own for _, own in pairs])
    failures = sum(not own for _, own in pairs)
    counts = {"perception": difference["only_first"], "control": failures - difference["only_first"]}
    return {
        "k": sum(told for told, _ in pairs),
        "control_k": sum(own for _, own in pairs),
        **difference,
        "p": mcnemar(difference["only_first"], difference["only_second"]),
        **{name: {"k": k, "n": failures, "interval": list(clopper_pearson(k, failures))} for name, k in counts.items()},
    }
