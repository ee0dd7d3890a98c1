"""Counterfactual probes on the scene and seed of an episode: does the motion follow the instruction and the images?

After BEAF (Ye-Bin et al., ECCV 2024) and VLind-Bench (Lee et al., 2024), which change the image or the text and test
whether the answer changes accordingly.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from sim.perturbations.variation import Effect
from sim.tasks.predicates import Predicate
from sim.tasks.refusals import sample_labelled
from sim.tasks.task import TaskInstance, describe
from sim.world.scene import COLOURS, SHAPES
from sim.world.world import World

HIDDEN_HEIGHT = -3.0  # metres: below the table, out of view


def swap(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Another target of the same family in the same scene, for policy and success; another object if there is one."""
    family = task.definition
    others = [b for b in family.bindings_in(task.scene) if set(b.goal) != set(task.goal)]
    objects = {o.name for o in task.scene.objects}
    own = _first_object(task.goal, objects)
    others = [b for b in others if _first_object(b.goal, objects) != own] or others
    if not others:
        return None
    return Effect(family.instance(task.scene, others[int(rng.integers(len(others)))], rng, task.split))


def _first_object(goal: tuple[Predicate, ...], objects: set[str]) -> str | None:
    """The first object that a goal moves."""
    return next((p.args[0] for p in goal if p.args[0] in objects), None)


def blank(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """An empty instruction, in a scene with several targets; success is still that of the task."""
    return None if swap(task, severity, rng) is None else Effect(task, instruction="")


def _with_image_filter(task: TaskInstance, make: Callable[[], Callable]) -> Effect:
    def vary(world: World) -> None:
        world.image_filter = make()

    return Effect(task, vary)


def blind(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """All images are black."""
    return _with_image_filter(task, lambda: lambda images: {k: np.zeros_like(p) for k, p in images.items()})


class _Frozen:
    def __init__(self) -> None:
        self._first: dict[str, np.ndarray] | None = None

    def __call__(self, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._first = self._first or images
        return self._first


def frozen(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Every image is the first one."""
    return _with_image_filter(task, _Frozen)


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
        world.data.qpos[address : address + 3] = (0, 0, HIDDEN_HEIGHT - slot)

    return Effect(task, vary, detail=f"without the {describe(task.scene.objects[slot])}")


def absent(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """The instruction names an object that the scene does not have, in place of the task's own."""
    slot = _named_target(task)
    if slot is None:
        return None
    target = describe(task.scene.objects[slot])
    present = {describe(o) for o in task.scene.objects}
    pairs = [f"{c} {s}" for c in COLOURS for s in SHAPES if f"{c} {s}" not in present]
    other = str(rng.choice(pairs))
    instruction = re.sub(rf"\b{target}\b", other, task.instruction)
    if instruction == task.instruction:
        return None
    return Effect(task, instruction=instruction, detail=f"{other} in place of {target}")


def contradict(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """The instruction claims a relation, a place or a fixture that is not so in this scene, in a held-out wording."""
    found = sample_labelled(task, "contradicting", rng, "held_out")
    return None if found is None else Effect(task, instruction=found.instruction, detail=found.reason)
