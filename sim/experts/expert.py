"""The scripted expert: a teleo-reactive program over the task's skills (Nilsson 1994).

It decides from the world's present state alone, so it can take over wherever a learned policy or a disturbance has
led, and it can label any state with the action and the sub-goals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sim.experts.contact import Press, PullDrawer, Push, PushDrawer
from sim.experts.disturbance import Disturbance
from sim.experts.motion import HOVER, OPEN, Intent, servo
from sim.experts.transport import (
    SLOTS,
    BesideObject,
    Destination,
    Gather,
    InDrawer,
    InTray,
    Lift,
    OnCabinet,
    OnObject,
    PutDown,
    Skill,
    Transport,
)
from sim.tasks.task import TaskInstance
from sim.world.world import World
from vla_agent.errors import TaskError


@dataclass(frozen=True)
class Decision:
    """One control period of a demonstration."""

    label: np.ndarray  # (7,) float32, the expert's answer to this state
    executed: np.ndarray  # (7,) float32, the label with noise, or a disturbance
    clean: bool  # False during a disturbance: the frame is no example to learn from
    subgoal: np.ndarray  # (2, 3) float32, base frame


class Expert:
    """Solves a task instance from any state of the world.

    Args:
        world: laid out for the task.
        task: the task instance.
        rng: randomness of the disturbance; needed only where ``noise`` is above 0.
        noise: 0 for none, 1 for demonstrations (see `sim.experts.disturbance`).

    Raises:
        TaskError: the task names a skill that there is none of.
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
        """(7,) float32: the expert's answer to the present state, without noise."""
        return servo(self.world, self._intent())

    def subgoal(self) -> np.ndarray:
        """(2, 3) float32: what is to be grasped or touched now, and where it goes; base frame, metres."""
        return self._subgoal(self._intent())

    def decide(self) -> Decision:
        """Label and disturbed action of this control period.  Call it once in every control period."""
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


def compile_skills(task: TaskInstance) -> tuple[Skill, ...]:
    """The task's list of skills with the scene's names; a pick and the place after it become one `Transport`."""
    names = tuple(o.name for o in task.scene.objects)
    shapes = {o.name: o.shape for o in task.scene.objects}

    def transport(name: str, destination: Destination) -> Transport:
        return Transport(name, shapes[name], destination, tuple(n for n in names if n != name))

    def destination(name: str, args: Mapping[str, str]) -> Destination:
        if "on" in args:
            return OnCabinet() if args["on"] == "cabinet" else OnObject(args["on"])
        if "beside" in args:
            return BesideObject(args["beside"], args["direction"])
        if args["in"] == "drawer":
            return InDrawer()
        slot = SLOTS[to_tray.index(name) % len(SLOTS)] if len(to_tray) > 1 else (0.0, 0.0)
        return InTray(slot, tuple(n for n in names if n != name))

    to_tray = [p.args[0] for p in task.goal if p.name == "in" and p.args[1] == "tray"]
    skills: list[Skill] = []
    picked = ""
    for entry in task.skills:
        skill, args = entry.name, entry.args
        if skill == "pick":
            picked = args["object"]
        elif skill == "lift":
            skills.append(Lift(args["object"], shapes[args["object"]], tuple(n for n in names if n != args["object"])))
        elif skill == "place":
            skills.append(transport(picked, destination(picked, args)))
        elif skill == "push":
            skills.append(Push(args["object"], args["to"], tuple(n for n in names if n != args["object"])))
        elif skill == "gather":
            chosen = tuple(o.name for o in task.scene.objects if o.colour == args["colour"])
            skills.append(Gather(tuple(transport(n, destination(n, {"in": args["into"]})) for n in chosen)))
        elif skill == "press":
            skills.append(Press(args["colour"], names))
        elif skill == "pull_drawer":
            skills.append(PullDrawer(names))
        elif skill == "push_drawer":
            skills.append(PushDrawer(names))
        else:
            raise TaskError(
                "there is no such skill",
                key="expert",
                expected="pick, place, lift, push, gather, press, pull_drawer, push_drawer",
                found=skill,
                remedy="mend the task file",
            )
    return tuple(skills)
