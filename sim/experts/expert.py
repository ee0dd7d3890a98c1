"""The scripted expert: a teleo-reactive program over the task's skills (Nilsson, 1994).

It decides from the world's present state alone.  So it can take over from any state that a learned policy or a
disturbance leads to, and it can label any state with an action and sub-goals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.experts.disturbance import Disturbance
from sim.experts.motion import HOVER, OPEN, Intent, servo
from sim.experts.skill_compiler import compile_skills
from sim.experts.transport import PutDown, Skill
from sim.tasks.task import TaskInstance
from sim.world.world import World


@dataclass(frozen=True)
class Decision:
    """One control period of a demonstration."""

    label: np.ndarray  # (7,) float32, the expert's action in this state
    executed: np.ndarray  # (7,) float32, the label with noise, or a burst of the disturbance
    clean: bool  # False during a burst: the frame must not be imitated
    subgoal: np.ndarray  # (2, 3) float32, target and goal; base frame, metres


class Expert:
    """Solves a task instance from any state of the world.

    Args:
        world: laid out for the task.
        task: the task instance.
        rng: for the disturbance; needed only where ``noise`` is above 0.
        noise: 0 for none, 1 for demonstrations (see `sim.experts.disturbance`).

    Raises:
        TaskError: the task names an unknown skill.
    """

    def __init__(
        self, world: World, task: TaskInstance, rng: np.random.Generator | None = None, noise: float = 0.0
    ) -> None:
        self.world, self.task = world, task
        self.skills = compile_skills(task)
        names = tuple(o.name for o in task.scene.objects)
        self._strays = tuple(
            PutDown(n, ("table", "tray", "drawer", "cabinet", *(m for m in names if m != n))) for n in names
        )
        self._disturbance = Disturbance(rng or np.random.default_rng(0), noise)

    def action(self) -> np.ndarray:
        """(7,) float32: the expert's action in the present state, without noise."""
        return servo(self.world, self._intent())

    def subgoal(self) -> np.ndarray:
        """(2, 3) float32: what to grasp or touch now, and where it goes; base frame, metres."""
        return self._subgoal(self._intent())

    def decide(self) -> Decision:
        """Label and disturbed action of this control period.  Call it once per control period."""
        intent = self._intent()
        label = servo(self.world, intent)
        carrying = any(stray.engaged(self.world) for stray in self._strays)
        low = bool(self.world.ee_position[2] < 0.06)
        executed, clean = self._disturbance.apply(label, low, carrying)
        return Decision(label, executed, clean, self._subgoal(intent))

    def _intent(self) -> Intent:
        skill = current(self.world, self.skills)
        intent = skill.intent(self.world)
        if not skill.engaged(self.world):
            for stray in self._strays:
                if stray.engaged(self.world):
                    return replace(stray.intent(self.world), target=intent.target, goal=intent.goal)
        return retreat(self.world, intent) if skill.achieved(self.world) else intent

    @staticmethod
    def _subgoal(intent: Intent) -> np.ndarray:
        return np.stack([intent.target, intent.goal]).astype(np.float32)


def current(world: World, skills: Sequence[Skill]) -> Skill:
    """The skill to execute: the latest one whose object is gripped, else the first not achieved, else the last."""
    for skill in reversed(skills):
        if skill.engaged(world):
            return skill
    return next((skill for skill in skills if not skill.achieved(world)), skills[-1])


def retreat(world: World, intent: Intent) -> Intent:
    """Straight up to the height of travel with the gripper open, and stay."""
    height = max(HOVER + 0.05, float(world.command_position[2]))
    xyz = np.array([*world.command_position[:2], height])
    return Intent(xyz, 0.0, OPEN, intent.target, intent.goal)
