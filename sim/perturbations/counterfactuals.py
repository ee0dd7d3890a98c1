"""Counterfactual probes on the scene and seed of an episode: does the motion follow the words, and does it need them?

After BEAF (Ye-Bin et al., ECCV 2024) and VLind-Bench (Lee et al., 2024), who change the picture or the text and ask
whether the answer changes as it should.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from sim.perturbations.variation import Effect
from sim.tasks.predicates import Predicate
from sim.tasks.task import TaskInstance, describe
from sim.world.scene import COLOURS, SHAPES
from sim.world.world import World

AWAY = -3.0  # metres under the table


def swap(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Told, and counted for, another target of the same family in the same scene; another object where there is one."""
    family = task.definition
    others = [b for b in family.bindings_in(task.scene) if set(b.goal) != set(task.goal)]
    objects = {o.name for o in task.scene.objects}
    mine = _moved(task.goal, objects)
    others = [b for b in others if _moved(b.goal, objects) != mine] or others
    if not others:
        return None
    return Effect(family.instance(task.scene, others[int(rng.integers(len(others)))], rng, task.split))


def _moved(goal: tuple[Predicate, ...], objects: set[str]) -> str | None:
    """The first object of a goal."""
    return next((p.args[0] for p in goal if p.args[0] in objects), None)


def blank(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Told nothing, in a scene with several targets; counted for the task all the same."""
    return None if swap(task, severity, rng) is None else Effect(task, told="")


def _filtered(task: TaskInstance, make: Callable[[], Callable]) -> Effect:
    def vary(world: World) -> None:
        world.picture_filter = make()

    return Effect(task, vary)


def blind(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Shown black pictures."""
    return _filtered(task, lambda: lambda pictures: {k: np.zeros_like(p) for k, p in pictures.items()})


class _Frozen:
    def __init__(self) -> None:
        self._first: dict[str, np.ndarray] | None = None

    def __call__(self, pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._first = self._first or pictures
        return self._first


def frozen(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Shown the first pictures for ever."""
    return _filtered(task, _Frozen)


def _named_target(task: TaskInstance) -> int | None:
    """Slot of the first object that the goal moves, where the instruction names it and nothing stands on it."""
    for slot, item in enumerate(task.scene.objects):
        if task.object_names[:1] == (item.name,) and describe(item) in task.bindings.values():
            carries = any(o.on == item.name for o in task.scene.objects)
            return None if carries else slot
    return None


def removed(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """The named object is not in the scene."""
    slot = _named_target(task)
    if slot is None:
        return None

    def vary(world: World) -> None:
        body = world.model.body(f"slot{slot}")
        geoms = slice(body.geomadr[0], body.geomadr[0] + body.geomnum[0])
        world.alter("geom_contype", geoms, 0)
        world.alter("geom_conaffinity", geoms, 0)
        world.alter("geom_rgba", geoms, 0)
        world.alter("body_gravcomp", body.id, 1)
        address = world.model.joint(f"slot{slot}").qposadr[0]
        world.data.qpos[address : address + 3] = (0, 0, AWAY - slot)

    return Effect(task, vary, detail=f"without the {describe(task.scene.objects[slot])}")


def absent(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Told of an object that the scene does not have; the object that the task means is there."""
    slot = _named_target(task)
    if slot is None:
        return None
    target = describe(task.scene.objects[slot])
    there = {describe(o) for o in task.scene.objects}
    pairs = [f"{c} {s}" for c in COLOURS for s in SHAPES if f"{c} {s}" not in there]
    other = str(rng.choice(pairs))
    told = re.sub(rf"\b{target}\b", other, task.instruction)
    return None if told == task.instruction else Effect(task, told=told, detail=f"{other} in place of {target}")
