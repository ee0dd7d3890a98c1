"""Perturbations of the scene and of the words: more objects, other places, other shapes, other wordings."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, pi

import numpy as np

from sim.perturbations.languages import languages, translations
from sim.perturbations.variation import Effect
from sim.tasks.predicates import SceneView
from sim.tasks.task import TaskInstance
from sim.world.scene import COLOURS, MAX_OBJECTS, OBJECT_REGION, SHAPES, Object

DISTRACTORS = (1, 2, 3)
SHIFT = (0.01, 0.02, 0.03)  # metres, objects
FIXTURE_SHIFT = (0.005, 0.01, 0.015)  # metres, tray and cabinet
START_SHIFT = (0.02, 0.04, 0.06)  # metres, of the gripper
CLEAR = 0.09  # least distance of a new distractor from everything, metres
CLEAR_TARGET = 0.13  # from what the task names: room for a gripper and for a thing beside it
KEPT_GAP = 0.075  # least distance between shifted objects, metres
TRIES = 60
TYPOS = (1, 2, 3)


def distractors(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """More objects, in colours and shapes that the scene does not have, where they are in nobody's way."""
    scene = task.scene
    words = " ".join((*task.bindings.values(), task.instruction))
    colours = [c for c in COLOURS if c not in {o.colour for o in scene.objects} and c not in words]
    named = {*task.object_names, *(a for p in task.goal for a in p.args)}
    added: list[Object] = []
    for _ in range(TRIES * DISTRACTORS[severity - 1]):
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
    """Objects on the table shifted and turned, each where that keeps them apart and the task open."""
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
    """Tray, cabinet (with what lies in them) and the gripper's start elsewhere."""
    scene, amount = task.scene, FIXTURE_SHIFT[severity - 1]
    tray, cabinet = rng.uniform(-amount, amount, 2), rng.uniform(-amount, amount, 2)
    by = {"tray": tray, "drawer": cabinet}
    inside: dict[str, np.ndarray] = {}
    for item in scene.objects:
        if item.on in by or item.on in inside:
            inside[item.name] = by[item.on] if item.on in by else inside[item.on]
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
    """A scene of the same family whose first object is a held-out pair of colour and shape; another layout, too."""
    family = task.definition
    return Effect(family.sample(rng, "objects")) if family.has_held_out_pairs else None


def paraphrase(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """A wording that training never uses."""
    wordings = task.definition.wordings.held_out
    if not wordings:
        return None
    return Effect(task, told=wordings[rng.integers(len(wordings))].format(**task.bindings))


def language(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """The instruction in German, Spanish or French; each severity is the same."""
    chosen = str(rng.choice(languages()))
    said = translations(task, chosen)
    return Effect(task, told=said[rng.integers(len(said))], detail=chosen) if said else None


def typo(task: TaskInstance, severity: int, rng: np.random.Generator) -> Effect | None:
    """Two neighbouring letters exchanged inside one, two or three words of at least four letters."""
    words = task.instruction.split(" ")
    long = [i for i, w in enumerate(words) if len(w) >= 4 and w.isalpha()]
    if not long:
        return None
    for i in rng.permutation(long)[: TYPOS[severity - 1]]:
        letters = list(words[i])
        k = int(rng.integers(1, len(letters) - 2))
        letters[k], letters[k + 1] = letters[k + 1], letters[k]
        words[i] = "".join(letters)
    return Effect(task, told=" ".join(words))
