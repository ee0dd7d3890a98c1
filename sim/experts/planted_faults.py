"""Policies with a known fault, to try a gate on: it must refuse each for its own reason, and pass the one without.

They act by the scripted expert, but only after what a policy would have to do: read the instruction and look.
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
NEAR = 0.6  # least similarity of an instruction to a wording that it is taken for
CAMERA_OFFSET = 0.004  # metres of a shift of the front camera that `one_camera` bears
ERROR = 2.0  # metres of error in its motion for each metre of that shift
HELD = np.array([0, 0, 0, 0, 0, 0, 0], np.float32)


class PlantedPolicy:
    """Takes one look at the world's own pictures when an episode begins.  ``fault``:

    - ``none``: reads, looks, does it;
    - ``deaf``: does not read; does what the episode is about, as if the picture alone told it, so that only being told
      something else can show it;
    - ``blind``: does not look;
    - ``one_camera``: knows where things are from one pose of the front camera alone;
    - ``one_family``: never closes its fingers in ``family``.
    """

    execute = 1
    looks = False  # it looks by itself, once: pictures are most of an episode's cost

    def __init__(self, fault: str = "none", family: str = "stack") -> None:
        assert fault in FAULTS
        self.fault, self.family = fault, family

    def bind(self, world: World, task: TaskInstance) -> None:
        self._world, self._task = world, task
        self._expert: Expert | None = None

    def reset(self, instruction: str, seed: int = 0) -> None:
        task = self._unswapped(seed) if self.fault == "deaf" else self._meant(instruction)
        sees = self.fault == "blind" or self._world.render()["front"].any()
        self._expert = None
        if task is not None and sees:
            self._expert = Expert(self._world, task, rng=np.random.default_rng([seed, 105]))

    def _meant(self, instruction: str) -> TaskInstance | None:
        """The task of this scene whose wording is nearest to the instruction; None where none is near."""
        best, near = None, NEAR
        family, scene = self._task.definition, self._task.scene
        for binding in family.bindings_in(scene):
            for wording in (*family.wordings.train, *family.wordings.held_out):
                likeness = difflib.SequenceMatcher(None, wording.format(**binding.words), instruction).ratio()
                if likeness > near:
                    best, near = binding, likeness
        return None if best is None else family.instance(scene, best, np.random.default_rng(0))

    def _unswapped(self, seed: int) -> TaskInstance:
        """What the episode is about without any variation, in this scene, whatever was said."""
        family, scene = self._task.definition, self._task.scene
        goal = set(family.episode(seed, self._task.split).goal)
        for binding in family.bindings_in(scene):
            if set(binding.goal) == goal:
                return family.instance(scene, binding, np.random.default_rng(0))
        return self._task

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        if self._expert is None:
            return HELD[None]
        action = np.array(self._expert.action(), np.float32)
        if self.fault == "one_camera":
            shift = self._world.model.camera("front").pos - _home()
            if np.linalg.norm(shift) > CAMERA_OFFSET:
                action[:3] += (ERROR * shift).astype(np.float32)
        if self.fault == "one_family" and self._task.family == self.family:
            action[6] = 0.0
        return action[None]


@cache
def _home() -> np.ndarray:
    """(3,) where the front camera stands unperturbed, metres."""
    return build_model().camera("front").pos.copy()


def load_planted(name: str) -> PlantedPolicy:
    """``planted.FAULT``, for `vla_agent.evaluation.play.player.PlayerSettings.load`."""
    return PlantedPolicy(name.removeprefix("planted."))
