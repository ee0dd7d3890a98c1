"""Policies with one planted fault each, to test a gate: it must refuse each for its reason, and pass the one without.

They act by the scripted expert, but only after what a policy must do: read the instruction and observe the images.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from sim.experts.expert import Expert
from sim.tasks.task import TaskInstance
from sim.world.model import build_model
from sim.world.world import World

FAULTS = ("none", "deaf", "blind", "one_camera", "one_family")
MIN_SIMILARITY = 0.6  # of an instruction to the wording that it is recognised as
CAMERA_TOLERANCE = 0.004  # metres that the front camera may be shifted before `one_camera` errs
CAMERA_ERROR = 2.0  # metres of error in its motion per metre of that shift
HOLD = np.array([0, 0, 0, 0, 0, 0, 0], np.float32)


class PlantedPolicy:
    """Renders the world's images once, when an episode begins.  ``fault``:

    - ``none``: reads the instruction, observes, does the task;
    - ``deaf``: does not read; does the task of the unvaried episode, as if the images alone determined it, so that only
      another instruction reveals the fault;
    - ``blind``: does not observe;
    - ``one_camera``: locates objects for one pose of the front camera only;
    - ``one_family``: never closes its fingers in ``family``.
    """

    execute = 1
    looks = False  # it renders by itself, once: images are most of an episode's cost

    def __init__(self, fault: str = "none", family: str = "stack") -> None:
        assert fault in FAULTS
        self.fault, self.family = fault, family

    def bind(self, world: World, task: TaskInstance) -> None:
        self._world, self._task = world, task
        self._expert: Expert | None = None

    def reset(self, instruction: str, seed: int = 0) -> None:
        task = self._unvaried_task(seed) if self.fault == "deaf" else self._recognised_task(instruction)
        observes = self.fault == "blind" or self._world.render()["front"].any()
        self._expert = None
        if task is not None and observes:
            self._expert = Expert(self._world, task, rng=np.random.default_rng([seed, 105]))

    def _recognised_task(self, instruction: str) -> TaskInstance | None:
        """The task of this scene whose wording is most similar to the instruction; None where none is similar."""
        best, highest = None, MIN_SIMILARITY
        family, scene = self._task.definition, self._task.scene
        for binding in family.bindings_in(scene):
            for wording in (*family.wordings.train, *family.wordings.held_out):
                similarity = difflib.SequenceMatcher(None, wording.format(**binding.words), instruction).ratio()
                if similarity > highest:
                    best, highest = binding, similarity
        return None if best is None else family.instance(scene, best, np.random.default_rng(0))

    def _unvaried_task(self, seed: int) -> TaskInstance:
        """The task of the episode without its variation, in this scene, whatever the instruction."""
        family, scene = self._task.definition, self._task.scene
        goal = set(family.episode(seed, self._task.split).goal)
        for binding in family.bindings_in(scene):
            if set(binding.goal) == goal:
                return family.instance(scene, binding, np.random.default_rng(0))
        return self._task

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        if self._expert is None:
            return HOLD[None]
        action = np.array(self._expert.action(), np.float32)
        if self.fault == "one_camera":
            shift = self._world.model.camera("front").pos - _front_camera_home()
            if np.linalg.norm(shift) > CAMERA_TOLERANCE:
                action[:3] += (CAMERA_ERROR * shift).astype(np.float32)
        if self.fault == "one_family" and self._task.family == self.family:
            action[6] = 0.0
        return action[None]


@cache
def _front_camera_home() -> np.ndarray:
    """(3,) position of the unperturbed front camera, metres."""
    return build_model().camera("front").pos.copy()


def load_planted(name: str) -> PlantedPolicy:
    """``planted.FAULT``, for `vla_agent.evaluation.play.player.PlayerSettings.load`."""
    return PlantedPolicy(name.removeprefix("planted."))
