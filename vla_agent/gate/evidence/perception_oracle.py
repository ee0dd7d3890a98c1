"""Perception and control apart: the same head, told where target and goal truly are in place of where it saw them.

What it then does right, it failed at by not finding the place; what it still does wrong, by its motion.  Its other
features stay those of the pictures, so that a head which reads more from them than the places is not wholly told.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.experts.expert import Expert
from sim.tasks.task import TaskInstance
from sim.world.world import World
from vla_agent.models.oracle_points import Truth


def takes_truth(policy: Any) -> bool:
    """Whether a policy can be told: ``act`` has an argument ``truth``, and the head sees places in numbers."""
    return "truth" in inspect.signature(policy.act).parameters and getattr(policy, "takes_places", True)


class Told:
    """A policy that is told at every look what to handle now and where it goes (`Expert.subgoal`)."""

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
