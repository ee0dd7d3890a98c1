"""From the ``expert`` list of a task file to skills that act in the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sim.experts.contact import Press, PullDrawer, Push, PushDrawer
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
    Skill,
    Transport,
)
from sim.tasks.task import TaskInstance
from vla_agent.errors import TaskError

Args = Mapping[str, str]


def compile_skills(task: TaskInstance) -> tuple[Skill, ...]:
    """The task's skills with the scene's object names; a pick and the place after it become one `Transport`.

    Raises:
        TaskError: the task names an unknown skill.
    """
    compiler = _SkillCompiler(task)
    skills: list[Skill] = []
    picked = ""
    for name, args in task.skills:
        if name == "pick":
            picked = args["object"]
        elif name == "place":
            skills.append(compiler.transport(picked, args))
        elif name in compiler.builders:
            skills.append(compiler.builders[name](args))
        else:
            raise TaskError(
                "there is no such skill",
                key="expert",
                expected=", ".join(("pick", "place", *compiler.builders)),
                found=name,
                remedy="fix the task file",
            )
    return tuple(skills)


class _SkillCompiler:
    """Builds the skills of one task instance."""

    def __init__(self, task: TaskInstance) -> None:
        self._objects = task.scene.objects
        self._names = tuple(o.name for o in self._objects)
        self._shapes = {o.name: o.shape for o in self._objects}
        self._to_tray = [p.args[0] for p in task.goal if p.name == "in" and p.args[1] == "tray"]
        self.builders: dict[str, Callable[[Args], Skill]] = {
            "lift": self._lift,
            "push": lambda args: Push(args["object"], args["to"], self._others(args["object"])),
            "gather": self._gather,
            "press": lambda args: Press(args["colour"], self._names),
            "pull_drawer": lambda args: PullDrawer(self._names),
            "push_drawer": lambda args: PushDrawer(self._names),
        }

    def transport(self, name: str, args: Args) -> Transport:
        """Pick ``name`` and place it where the ``args`` of a ``place`` say."""
        return Transport(name, self._shapes[name], self._destination(name, args), self._others(name))

    def _others(self, name: str) -> tuple[str, ...]:
        return tuple(n for n in self._names if n != name)

    def _destination(self, name: str, args: Args) -> Destination:
        if "on" in args:
            return OnCabinet() if args["on"] == "cabinet" else OnObject(args["on"])
        if "beside" in args:
            return BesideObject(args["beside"], args["direction"])
        if args["in"] == "drawer":
            return InDrawer()
        slot = SLOTS[self._to_tray.index(name) % len(SLOTS)] if len(self._to_tray) > 1 else (0.0, 0.0)
        return InTray(slot, self._others(name))

    def _lift(self, args: Args) -> Skill:
        name = args["object"]
        return Lift(name, self._shapes[name], self._others(name))

    def _gather(self, args: Args) -> Skill:
        chosen = [o.name for o in self._objects if o.colour == args["colour"]]
        return Gather(tuple(self.transport(name, {"in": args["into"]}) for name in chosen))
