"""Perturbations of the scene: more objects, other places, other shapes."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, pi

import numpy as np

from sim.perturbations.variation import Effect
from sim.tasks.predicates import SceneView
from sim.tasks.task import TaskInstance
from sim.world.scene import COLOURS, MAX_OBJECTS, OBJECT_REGION, SHAPES, Object

DISTRACTORS = (1, 2, 3)
SHIFT = (0.01, 0.02, 0.03)  # metres, objects
FIXTURE_SHIFT = (0.005, 0.01, 0.015)  # metres, tray and cabinet
START_SHIFT = (0.02, 0.04, 0.06)  # metres, of the gripper
CLEAR = 0.09  # least distance of a new distractor from other objects, metres
CLEAR_TARGET = 0.13  # and from what the task names: room for a gripper and an object
KEPT_GAP = 0.075  # least distance between shifted objects, metres
ATTEMPTS = 60  # positions per distractor


def distractors(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """More objects, in colours that the scene does not have, where they do not obstruct the task."""
    scene = task.scene
    named_words = " ".join((*task.bindings.values(), task.instruction))
    colours = [c for c in COLOURS if c not in {o.colour for o in scene.objects} and c not in named_words]
    named = {*task.object_names, *(a for p in task.goal for a in p.args)}
    added: list[Object] = []
    for _ in range(ATTEMPTS * DISTRACTORS[severity - 1]):
        full = len(scene.objects) + len(added) >= MAX_OBJECTS
        if full or len(added) == DISTRACTORS[severity - 1] or not colours:
            break
        xy = (float(rng.uniform(*OBJECT_REGION[0])), float(rng.uniform(*OBJECT_REGION[1])))
        room = {o.name: CLEAR_TARGET if o.name in named else CLEAR for o in scene.objects}
        others = (*scene.objects, *added)
        if all(hypot(xy[0] - o.xy[0], xy[1] - o.xy[1]) >= room.get(o.name, CLEAR) for o in others):
            colour, shape = str(rng.choice(colours)), str(rng.choice(SHAPES))
            added.append(Object(f"extra{len(added) + 1}", shape, colour, xy, float(rng.uniform(-pi, pi))))
            colours.remove(colour)
    if not added:
        return None
    more = ", ".join(f"{o.colour} {o.shape}" for o in added)
    return Effect(replace(task, scene=replace(scene, objects=(*scene.objects, *added))), detail=f"also: {more}")


def object_pose(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Shift and turn objects on the table, where they stay apart and the goal does not come to hold."""
    scene = task.scene
    carrying = {o.on for o in scene.objects}
    for item in scene.objects:
        shift, yaw = rng.uniform(-1, 1, 2) * SHIFT[severity - 1], float(rng.uniform(-pi, pi))
        if item.on != "table" or item.name in carrying:
            continue
        x, y = np.clip(np.array(item.xy) + shift, *np.transpose(OBJECT_REGION))
        xy = (float(x), float(y))
        moved = replace(item, xy=xy, yaw=yaw)
        objects = tuple(moved if o.name == item.name else o for o in scene.objects)
        apart = all(hypot(xy[0] - o.xy[0], xy[1] - o.xy[1]) >= KEPT_GAP for o in objects if o.name != item.name)
        changed = replace(scene, objects=objects)
        if apart and not task.success(SceneView(changed)):
            scene = changed
    return Effect(replace(task, scene=scene))


def layout(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect:
    """Shift tray and cabinet, with what lies in them, and the gripper's start."""
    scene, amount = task.scene, FIXTURE_SHIFT[severity - 1]
    tray, cabinet = rng.uniform(-amount, amount, 2), rng.uniform(-amount, amount, 2)
    shifts = {"tray": tray, "drawer": cabinet}
    inside: dict[str, np.ndarray] = {}
    for item in scene.objects:
        if item.on in shifts or item.on in inside:
            inside[item.name] = shifts[item.on] if item.on in shifts else inside[item.on]
    objects = tuple(replace(o, xy=_plus(o.xy, inside[o.name])) if o.name in inside else o for o in scene.objects)
    x, y, z = scene.start.xyz
    dx, dy, dz = rng.uniform(-1, 1, 3) * START_SHIFT[severity - 1]
    start = replace(scene.start, xyz=(x + float(dx), y + float(dy), z + abs(float(dz))))
    moved = replace(
        scene,
        objects=objects,
        start=start,
        tray_xy=_plus(scene.tray_xy, tray),
        cabinet_xy=_plus(scene.cabinet_xy, cabinet),
    )
    return Effect(replace(task, scene=moved))


def _plus(xy: tuple[float, float], shift: np.ndarray) -> tuple[float, float]:
    return xy[0] + float(shift[0]), xy[1] + float(shift[1])


def unseen_objects(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Another scene of the same family, whose first object is a held-out pair of colour and shape."""
    family = task.definition
    return Effect(family.sample(rng, "objects")) if family.has_held_out_pairs else None
