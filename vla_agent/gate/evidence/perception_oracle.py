"""Separating perception from control: the same head, given the true places of target and goal instead of its own.

An episode that then succeeds had failed by perception, one that still fails by control.  The other features remain
those of the images, so that what a head reads from them beside the places is not replaced.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.experts.expert import Expert
from sim.tasks.task import TaskInstance
from sim.world.world import World
from vla_agent.models.oracle_points import OraclePoints


def accepts_oracle_points(policy: Any) -> bool:
    """Whether ``act`` has an argument ``oracle``, and the head's input has explicit points."""
    return "oracle" in inspect.signature(policy.act).parameters and getattr(policy, "accepts_oracle", True)


class OraclePolicy:
    """A policy that receives, with every observation, the true places of target and goal (`Expert.subgoal`)."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def bind(self, world: World, task: TaskInstance) -> None:
        if hasattr(self._policy, "bind"):
            self._policy.bind(world, task)
        self._world, self._expert = world, Expert(world, task)

    def act(self, observation: Mapping[str, Any], **more: Any) -> np.ndarray:
        """The chunk (T, A) of an observation, given the true places at the same time."""
        located = self._expert.subgoal()
        points = np.stack([self._world.project(name, located) for name in self._policy.contract.camera_names])
        return self._policy.act(observation, oracle=OraclePoints(points, located), **more)
