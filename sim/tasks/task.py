"""Task families as data: a YAML file in, sampled task instances (a scene, an instruction, a goal) out.

A suite is a set of families that comes with the package: `load_suite("tabletop")` gives the ten that the shipped policy
was trained on, `load_suite("new")` two that it has not seen.  `load_family(path)` reads a task file outside the suites.
docs/tasks.md describes the keys; ``sim/tasks/scene_layout.py`` lays out the scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from sim.tasks import task_file
from sim.tasks.predicates import Predicate, SceneView, ground, holds
from sim.tasks.scene_layout import HELD_OUT_PAIRS, SPLITS, NoLayout, allows, lay_out
from sim.tasks.suggestions import suggest
from sim.world.scene import Object, Scene
from vla_agent.errors import TaskError

__all__ = ["HELD_OUT_PAIRS", "SPLITS", "Skill", "TaskFamily", "TaskInstance", "load_family", "load_suite"]

SUITES = {name: Path(__file__).parent / name for name in ("tabletop", "new")}
ATTEMPTS = 400  # layouts tried for one sample before giving up
MAX_OTHER_INSTRUCTIONS = 8


class Skill(NamedTuple):
    """One step of the expert, with the scene's own names.

    ``pick {object}``, ``place {in} | {on} | {beside, direction}``, ``lift {object}``,
    ``push {object, to: zone colour}``, ``pull_drawer``, ``push_drawer``, ``press {colour}``, ``gather {colour, into}``.
    """

    name: str
    args: dict[str, str]


@dataclass(frozen=True)
class TaskInstance:
    """One sampled task.

    Attributes:
        bindings: slot of the wording -> words, such as ``{"target": "red mug", "direction": "left of"}``.
        goal: grounded predicates, all of which must hold.
        skills: the expert's skills with the scene's object names and colours.
        steps_limit: time limit in control periods (20 Hz).
    """

    family: str
    scene: Scene
    instruction: str
    bindings: dict[str, str]
    goal: tuple[Predicate, ...]
    skills: tuple[Skill, ...]
    steps_limit: int
    split: str
    definition: TaskFamily = field(repr=False, compare=False)
    seed: int = field(repr=False)  # of `other_instructions` and `foreign_instructions`

    def success(self, world) -> bool:  # noqa: ANN001 - World or SceneView
        """Whether the goal is reached now."""
        return all(holds(p, world) for p in self.goal)

    @property
    def object_names(self) -> tuple[str, ...]:
        """Scene names of the objects that the goal moves, in the goal's order."""
        names = [p.args[0] for p in self.goal if p.name in ("in", "on", "at", "beside", "lifted")]
        return tuple(dict.fromkeys(names))

    @cached_property
    def other_instructions(self) -> tuple[str, ...]:
        """Other valid instructions of the same family in this scene: another object, colour, direction or zone."""
        rng = np.random.default_rng(self.seed)
        others = [b for b in self.definition.bindings_in(self.scene) if set(b.goal) != set(self.goal)]
        rng.shuffle(others)  # type: ignore[arg-type]  # numpy's stub allows arrays only; a list is shuffled in place
        return tuple(self.definition.instruct(b, rng, self.split) for b in others[:MAX_OTHER_INSTRUCTIONS])

    @cached_property
    def foreign_instructions(self) -> tuple[str, ...]:
        """Valid instructions of this scene from the suite's other families, one per family that fits the scene."""
        rng = np.random.default_rng(self.seed + 1)
        found = []
        for family in load_suite("tabletop").values():
            valid = [b for b in family.bindings_in(self.scene) if set(b.goal) != set(self.goal)]
            if family.name != self.family and valid:
                found.append(family.instruct(valid[rng.integers(len(valid))], rng, self.split))
        return tuple(found)


class Binding(NamedTuple):
    """One assignment of a family's slots in a scene."""

    words: dict[str, str]  # slot -> words
    names: dict[str, str]  # role or choice -> object name, colour or direction
    goal: tuple[Predicate, ...]


class TaskFamily:
    """A checked task file.  Made by `load_family` and `load_suite`."""

    def __init__(self, spec: task_file.FamilySpec, lines: task_file.SourceLines) -> None:
        self.spec, self.file = spec, lines.path
        self.name, self.description, self.time_limit = spec.name, spec.description, spec.time_limit
        self.wordings = spec.wordings
        parsed = task_file.expressions(spec, lines)
        self.goal, self.not_at_start, self.hold_at_start = parsed["goal"], parsed["not"], parsed["hold"]
        self.expert = tuple(task_file.skill(e, spec, lines, ("expert", i)) for i, e in enumerate(spec.expert))
        text = " ".join((*spec.wordings.train, *spec.wordings.held_out))
        self.named_roles = tuple(r for r in spec.objects if "{" + r + "}" in text)

    def __repr__(self) -> str:
        return f"TaskFamily({self.name!r})"

    @property
    def has_held_out_pairs(self) -> bool:
        """Whether the split ``objects`` has scenes: the first object, where there is one, allows a held-out pair."""
        first = next(iter(self.spec.objects.values()), None)
        return first is None or any(allows(first, pair) for pair in HELD_OUT_PAIRS)

    def wordings_of(self, split: str) -> list[str]:
        """The wordings that a split uses.

        Raises:
            TaskError: unknown split, or no held-out wordings in this file.
        """
        if split not in SPLITS:
            raise TaskError(
                "there is no such split",
                key="split",
                expected=", ".join(SPLITS),
                found=split,
                remedy=suggest(split, SPLITS),
            )
        chosen = self.wordings.held_out if split == "wordings" else self.wordings.train
        if not chosen:
            raise TaskError(
                "the family has no held-out wordings",
                file=self.file,
                key="wordings.held_out",
                expected="at least one wording",
                found="none",
                remedy="add wordings that training never uses, or take the split 'seen'",
            )
        return chosen

    def sample(self, rng: np.random.Generator, split: str = "seen") -> TaskInstance:
        """A scene with an instruction.

        Args:
            split: ``seen`` (training wordings, allowed pairs), ``wordings`` (held-out wordings, allowed pairs) or
                ``objects`` (training wordings; the first object, or else the distractors, from the held-out pairs).

        Raises:
            TaskError: unknown split, or the file's conditions leave no room for a scene.
        """
        self.wordings_of(split)  # raises for an unknown split
        if split == "objects" and not self.has_held_out_pairs:
            raise TaskError(
                "the family has no scenes in the split 'objects'",
                file=self.file,
                key="objects",
                expected="a first object that allows one of "
                + ", ".join(f"{c} {s}" for c, s in sorted(HELD_OUT_PAIRS)),
                found="none of them",
                remedy="allow more shapes and colours, or take the split 'seen'",
            )
        for _ in range(ATTEMPTS):
            try:
                scene, choices = lay_out(self.spec, rng, split)
            except NoLayout:
                continue
            view = SceneView(scene)
            roles = {r: r for r in self.spec.objects}
            if any(holds(p, view) for p in ground(self.not_at_start, scene, roles, choices)):
                continue
            if not all(holds(p, view) for p in ground(self.hold_at_start, scene, roles, choices)):
                continue
            objects = {o.name: o for o in scene.objects}
            named = {**choices, **{r: describe(objects[r]) for r in self.named_roles}}
            goal = ground(self.goal, scene, roles, choices)
            task = self.instance(scene, Binding(named, {**choices, **roles}, goal), rng, split)
            if _scene_has_all(task) and not task.success(view):
                return task
        raise TaskError(
            f"no scene was found in {ATTEMPTS} attempts",
            file=self.file,
            key="objects, distractors, start",
            expected="conditions that leave room for the objects, with the goal not yet reached",
            found=f"split {split}",
            remedy="use fewer objects, wider ranges or fewer start conditions",
        )

    def instruct(self, binding: Binding, rng: np.random.Generator, split: str = "seen") -> str:
        """An instruction for this binding in one of the split's wordings."""
        wordings = self.wordings_of(split)
        return wordings[rng.integers(len(wordings))].format(**binding.words)

    def instance(self, scene: Scene, binding: Binding, rng: np.random.Generator, split: str = "seen") -> TaskInstance:
        """The task of this binding in a given scene (see `bindings_in`)."""
        instruction = self.instruct(binding, rng, split)
        skills = tuple(Skill(n, {k: binding.names.get(v, v) for k, v in args.items()}) for n, args in self.expert)
        return TaskInstance(
            self.name,
            scene,
            instruction,
            binding.words,
            binding.goal,
            skills,
            self.time_limit,
            split,
            definition=self,
            seed=int(rng.integers(2**31)),
        )

    def episode(self, seed: int, split: str = "seen") -> TaskInstance:
        """The task of an episode's seed.  The same seed gives each family a different scene.

        Raises:
            TaskError: as `sample`.
        """
        return self.sample(np.random.default_rng([seed, crc32(self.name.encode())]), split)

    def bindings_in(self, scene: Scene) -> Iterator[Binding]:
        """Every assignment of the wording's slots in a given scene whose goal does not hold there yet."""
        limits = self.spec.start.drawer_open
        if limits and not limits[0] <= scene.drawer_open <= limits[1]:
            return
        view = SceneView(scene)
        values = [_values(source, scene) for source in self.spec.choose.values()]
        for combination in product(*values):
            choices = dict(zip(self.spec.choose, combination, strict=True))
            for objects in permutations(scene.objects, len(self.named_roles)):
                chosen = dict(zip(self.named_roles, objects, strict=True))
                if not all(allows(self.spec.objects[r], (o.colour, o.shape), choices) for r, o in chosen.items()):
                    continue
                roles = {r: o.name for r, o in chosen.items()}
                goal = ground(self.goal, scene, roles, choices)
                if goal and not all(holds(p, view) for p in goal):
                    yield Binding(
                        {**choices, **{r: describe(o) for r, o in chosen.items()}}, {**choices, **roles}, goal
                    )


def describe(o: Object) -> str:
    """How an instruction names an object: ``red mug``."""
    return f"{o.colour} {o.shape}"


def _scene_has_all(task: TaskInstance) -> bool:
    """Whether the scene has everything that goal and expert name by colour: a task file may name a colour itself."""
    zones = {p.args[1] for p in task.goal if p.name == "at"} | {s.args["to"] for s in task.skills if s.name == "push"}
    buttons = {p.args[0] for p in task.goal if p.name == "pressed"}
    buttons |= {s.args["colour"] for s in task.skills if s.name == "press"}
    gathered = {s.args["colour"] for s in task.skills if s.name == "gather"}
    scene = task.scene
    return all(
        wanted <= {item.colour for item in there}
        for wanted, there in ((zones, scene.zones), (buttons, scene.buttons), (gathered, scene.objects))
    )


def _values(source: list[str], scene: Scene) -> list[str]:
    """The values that a choice can take in this scene."""
    colours = {
        "buttons": [b.colour for b in scene.buttons],
        "zones": [z.colour for z in scene.zones],
        "objects": [o.colour for o in scene.objects],
    }
    return list(dict.fromkeys(colours.get(source[0], source)))


def load_family(path: str | Path) -> TaskFamily:
    """Read a task file.

    Raises:
        TaskError: with file:line, key, the valid names and a remedy.
    """
    return TaskFamily(*task_file.read(path))


@cache
def load_suite(name: str = "tabletop") -> dict[str, TaskFamily]:
    """The families of a suite by name.

    Raises:
        TaskError: unknown suite.
    """
    if name not in SUITES:
        raise TaskError(
            "there is no such suite", key="suite", expected=", ".join(SUITES), found=name, remedy=suggest(name, SUITES)
        )
    families = [load_family(path) for path in sorted(SUITES[name].glob("*.yaml"))]
    return {family.name: family for family in families}


def select(names: str | list[str] | None, suite: str = "tabletop") -> dict[str, TaskFamily]:
    """Task families by name.

    Args:
        names: names of families of any suite, or paths of task files; a list, or ``"a,b"``.  Empty: all of ``suite``.
        suite: the suite whose families come first, and all of them where ``names`` is empty.

    Raises:
        TaskError: no suite has such a family, or a task file is wrong.
    """
    if not names:
        return dict(load_suite(suite))
    families = {name: family for each in (suite, *SUITES) for name, family in load_suite(each).items()}
    chosen = {}
    for name in names.split(",") if isinstance(names, str) else names:
        name = name.strip()
        if name.endswith((".yaml", ".yml")):
            family = load_family(name)
            chosen[family.name] = family
            continue
        if name not in families:
            raise TaskError(
                "there is no such task",
                key="tasks",
                expected=", ".join(families),
                found=name,
                remedy=suggest(name, families) + ", or give the path of a task file",
            )
        chosen[name] = families[name]
    return chosen
