"""Sampling of annotated images: a scene, both cameras' images, and questions with answers and points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from sim.experts.expert import Expert
from sim.perturbations.appearance import domain_randomisation
from sim.questions.question_items import QUESTIONS, Item, VisibleScene, goal_words, mentions_of
from sim.tasks.task import TaskInstance, load_suite
from sim.world.objects import half_extents, stackable_top
from sim.world.scene import COLOURS, MAX_OBJECTS, SHAPES, Object, Scene, Start
from sim.world.world import World

VIEWS = ("front", "wrist")
PLACES = ("table", "tray", "drawer")  # where an object lies, what it stands on included
FIXTURES = ("button", "zone")
MAX_FIXTURES = 5  # three buttons, two zones
BUTTON_HEIGHT = 0.02  # metres: of a button's upper half
QUESTIONS_PER_SCENE = 3  # beside three instructions
# Distance between the finger pads in metres, by gripper position in tenths.
PADS = (0.0854, 0.0781, 0.0704, 0.0624, 0.0540, 0.0453, 0.0364, 0.0274, 0.0182, 0.0090, 0.0)
SQUEEZE = 0.0015  # the pads are closer than the object is wide by this, metres
# Half widths at the height of the pads, of the shapes whose width changes with height, metres.
WAISTS = {"cup": 0.0225, "pear": 0.022, "star": 0.022}


@dataclass(frozen=True)
class AnnotatedImages:
    """The images of both cameras with questions, answers and points.

    Attributes:
        images: camera -> (H, W, 3) uint8.
        items: questions and instructions with their answers.
        points: (items, V, R, 3) float32 = u, v, inside of target and goal; NaN where the item points at nothing.
        scene: what is shown.
        object_classes: (MAX_OBJECTS, 2) int8: indices in SHAPES and COLOURS of each object, -1 where there is none.
        object_points: (V, MAX_OBJECTS, 3) float32: u, v, inside of the objects' centres, NaN where there is none.
        object_sizes: (V, MAX_OBJECTS, 2) float32: width and height of the objects' boxes, as fractions of the image.
        object_positions: (MAX_OBJECTS, 3) float32 metres, NaN where there is none.
        object_places: (MAX_OBJECTS,) int8: index in PLACES, -1 where there is none or the gripper holds it.
        fixture_classes: (MAX_FIXTURES, 2) int8: indices in FIXTURES and COLOURS.
        fixture_points: (V, MAX_FIXTURES, 3) float32: u, v, inside.
    """

    images: dict[str, np.ndarray]
    items: tuple[Item, ...]
    points: np.ndarray
    scene: Scene
    object_classes: np.ndarray
    object_points: np.ndarray
    object_sizes: np.ndarray
    object_positions: np.ndarray
    object_places: np.ndarray
    fixture_classes: np.ndarray
    fixture_points: np.ndarray


def sample_annotated_images(
    world: World, rng: np.random.Generator, vary: Sequence[str] = (), at_start: bool = False
) -> AnnotatedImages:
    """Draw a scene of any family (training wordings and pairs), a pose of the arm, and about six items.

    Args:
        vary: appearance axes, varied as in `sim.perturbations.appearance.domain_randomisation`.
        at_start: the arm is where an episode starts; else anywhere in one, and it may hold an object.
    """
    families = list(load_suite("tabletop").values())
    family = families[rng.integers(len(families))]
    task = family.sample(rng, "seen")
    scene = _rearranged(task.scene, rng)
    start, lifted = (scene.start, None) if at_start else _pose(scene, rng)
    world.reset(replace(scene, start=start), domain_randomisation(task, vary, rng) if vary else None)
    held = lifted if lifted and _hold(world, lifted, rng) else None
    visible = VisibleScene(world, held)
    items = [_instruction(world, t, held) for t in _instances(scene, task, rng)]
    functions = list(QUESTIONS)
    weights = np.array(list(QUESTIONS.values()))
    for k in rng.choice(len(functions), QUESTIONS_PER_SCENE, replace=False, p=weights / weights.sum()):
        item = functions[k](visible, rng)
        if item is not None:
            items.append(item)
    classes, points = _object_labels(world, scene)
    positions, places = _object_places(world, scene, held)
    fixtures, fixture_points = _fixture_labels(world, scene)
    return AnnotatedImages(
        images=world.render(),
        items=tuple(items),
        points=_project(world, items),
        scene=scene,
        object_classes=classes,
        object_points=points,
        object_sizes=_object_sizes(world, scene),
        object_positions=positions,
        object_places=places,
        fixture_classes=fixtures,
        fixture_points=fixture_points,
    )


def _instances(scene: Scene, task: TaskInstance, rng: np.random.Generator) -> list[TaskInstance]:
    """Three tasks in one scene: two of its own family, with different bindings where possible, and one of another."""
    families = load_suite("tabletop")
    other = families[list(families)[rng.integers(len(families))]]
    found: list[TaskInstance] = []
    for family, number in ((families[task.family], 2), (other, 1)):
        bindings = list(family.bindings_in(scene))
        for k in rng.permutation(len(bindings))[:number]:
            found.append(family.instance(scene, bindings[k], rng))
    return found


def _instruction(world: World, task: TaskInstance, held: str | None) -> Item:
    """The instruction with its sub-goals: what to grasp or touch now, and where it goes."""
    objects = {o.name: o for o in task.scene.objects}
    located = np.asarray(Expert(world, task).subgoal(), np.float32)
    return Item("instruction", task.instruction, goal_words(task.goal, objects), located, mentions_of(task))


def _rearranged(scene: Scene, rng: np.random.Generator) -> Scene:
    """Move an object of some scenes, as in the middle of a task: to tray, drawer or zone, or onto another object."""
    kind = rng.random()
    k = int(rng.integers(len(scene.objects)))
    o = scene.objects[k]
    jitter = rng.uniform(-0.035, 0.035, 2)
    if kind < 0.2:
        moved = replace(o, xy=tuple(np.array(scene.tray_xy) + jitter), on="tray")
    elif kind < 0.28 and scene.drawer_open > 0.9:
        x, y = scene.cabinet_xy
        moved = replace(o, xy=(x + 0.134 * scene.drawer_open + jitter[0] / 2, y + jitter[1] / 2), on="drawer")
    elif kind < 0.34:
        below = [b for b in scene.objects if b is not o and stackable_top(b.shape)]
        if not below or o.shape in ("ball", "pear"):
            return scene
        base = below[rng.integers(len(below))]
        moved = replace(o, xy=tuple(np.array(base.xy) + jitter / 7), on=base.name)
    elif kind < 0.40:
        zone = scene.zones[rng.integers(len(scene.zones))]
        moved = replace(o, xy=tuple(np.array(zone.xy) + jitter))
    else:
        return scene
    return replace(scene, objects=(*scene.objects[:k], moved, *scene.objects[k + 1 :]))


def _pose(scene: Scene, rng: np.random.Generator) -> tuple[Start, str | None]:
    """A pose that the arm could have in an episode, and the object to be put between the fingers, if any."""
    yaw = float(rng.uniform(-0.2, 0.2) if rng.random() < 0.6 else rng.uniform(-1.4, 1.4))
    gripper = 0.0 if rng.random() < 0.75 else float(rng.uniform(0.0, 0.8))
    kind = rng.random()
    o = scene.objects[rng.integers(len(scene.objects))]
    half = half_extents(o.shape)
    xyz = rng.uniform((0.33, -0.28, 0.10), (0.68, 0.30, 0.32))
    lifted = None
    if kind < 0.20:  # above a fixture
        cabinet, opening = scene.cabinet_xy, 0.13 * scene.drawer_open
        drawer, handle = (
            (cabinet[0] + 0.004 + opening, cabinet[1], 0.05),
            (cabinet[0] + 0.102 + opening, cabinet[1], 0.045),
        )
        fixtures = [(*scene.tray_xy, 0.03), drawer, handle, *((*b.xy, 0.03) for b in scene.buttons)]
        xyz = np.array(fixtures[rng.integers(len(fixtures))]) + (*rng.normal(0, 0.025, 2), rng.uniform(0.01, 0.14))
    elif kind < 0.55 and o.on == "table":  # above or around an object
        height = float(rng.uniform(0.0, 0.14))
        low = height < 0.05 + 2 * half[2] - 0.02
        spread = 0.006 if low else 0.025
        xyz = np.array((*o.xy, max(0.015, 2 * half[2] - 0.03))) + (*rng.normal(0, spread, 2), height)
        if low:
            yaw, gripper = _grasp_yaw(o, yaw), 0.0
    elif kind > 0.80 and o.on in ("table", "tray") and all(b.on != o.name for b in scene.objects):
        across = 2 * WAISTS.get(o.shape, min(half[:2])) - SQUEEZE
        lifted, gripper = o.name, float(np.interp(-across, [-pads for pads in PADS], np.linspace(0, 1, 11)))
        xyz = xyz + (0, 0, half[2] - 0.02)
    return Start((float(xyz[0]), float(xyz[1]), float(xyz[2])), yaw, gripper), lifted


def _grasp_yaw(o: Object, yaw: float) -> float:
    """A yaw at which open fingers fit around the object."""
    if o.shape == "block":
        return o.yaw + (np.pi / 2 if o.yaw < 0 else -np.pi / 2)
    return o.yaw if o.shape in ("cube", "star") else yaw


def _hold(world: World, name: str, rng: np.random.Generator) -> bool:
    """Put the object between the fingers, or leave it where it was if the pads do not touch it; whether they do."""
    o, before = world.object(name), world.object_position(name)
    half = half_extents(o.shape)
    below = max(0.0, float(half[2]) - 0.035) + float(rng.uniform(-0.004, 0.006))
    turn = world.ee_yaw + (np.pi / 2 if o.shape == "block" else 0.0)
    world.move_object(name, world.ee_position - (0, 0, below), turn)
    if world.held(name):
        return True
    world.move_object(name, before, o.yaw)
    return False


def _project(world: World, items: list[Item]) -> np.ndarray:
    """(items, V, R, 3) float32, as in `AnnotatedImages.points`."""
    points = np.full((len(items), len(VIEWS), 2, 3), np.nan, np.float32)
    pointing = [k for k, item in enumerate(items) if item.located is not None]
    if pointing:
        located = np.concatenate([items[k].located for k in pointing])
        for v, camera in enumerate(VIEWS):
            points[pointing, v] = world.project(camera, located).reshape(-1, 2, 3)
    return points


def _object_labels(world: World, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """``object_classes`` and ``object_points`` of `AnnotatedImages`."""
    classes = np.full((MAX_OBJECTS, 2), -1, np.int8)
    points = np.full((len(VIEWS), MAX_OBJECTS, 3), np.nan, np.float32)
    colours = list(COLOURS)
    for k, o in enumerate(scene.objects):
        classes[k] = SHAPES.index(o.shape), colours.index(o.colour)
    centres = np.array([world.object_position(o.name) for o in scene.objects])
    for v, camera in enumerate(VIEWS):
        points[v, : len(centres)] = world.project(camera, centres)
    return classes, points


def _object_sizes(world: World, scene: Scene) -> np.ndarray:
    """``object_sizes`` of `AnnotatedImages`: of the corners of the objects' bounding boxes, inside the image."""
    sizes = np.full((len(VIEWS), MAX_OBJECTS, 2), np.nan, np.float32)
    signs = np.array(list(product((-1, 1), repeat=3)))
    for k, o in enumerate(scene.objects):
        rotation, half = world.object_rotation(o.name), world.object_half_extents(o.name)
        corners = world.object_position(o.name) + (signs * half) @ rotation.T
        for v, camera in enumerate(VIEWS):
            places = world.project(camera, corners)[:, :2].clip(0, 1)
            sizes[v, k] = places.max(0) - places.min(0)
    return sizes


def _object_places(world: World, scene: Scene, held: str | None) -> tuple[np.ndarray, np.ndarray]:
    """``object_positions`` and ``object_places`` of `AnnotatedImages`."""
    positions = np.full((MAX_OBJECTS, 3), np.nan, np.float32)
    places = np.full(MAX_OBJECTS, -1, np.int8)
    on = {o.name: o.on for o in scene.objects}
    for k, o in enumerate(scene.objects):
        positions[k] = world.object_position(o.name)
        place, carried = o.on, o.name == held
        while place in on:
            place, carried = on[place], carried or place == held
        places[k] = -1 if carried else PLACES.index(place)
    return positions, places


def _fixture_labels(world: World, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """``fixture_classes`` and ``fixture_points`` of `AnnotatedImages`."""
    colours = list(COLOURS)
    found = [(0, b.colour, (*b.xy, BUTTON_HEIGHT)) for b in scene.buttons]
    found += [(1, z.colour, (*z.xy, 0.0)) for z in scene.zones]
    classes = np.array([(kind, colours.index(colour)) for kind, colour, _ in found], np.int8)
    centres = np.array([xyz for *_, xyz in found])
    return classes, np.stack([world.project(camera, centres) for camera in VIEWS]).astype(np.float32)
