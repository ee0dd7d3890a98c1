"""Objects of the simulated scene as a viewer changes them: dragged, recoloured, reshaped, added, removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sim.tasks.task import TaskInstance, describe
from sim.world.objects import half_extents
from sim.world.scene import COLOURS, MAX_OBJECTS, OBJECT_REGION, SHAPES, Object, Scene
from sim.world.world import World
from vla_agent.errors import OptionError

REACH = ((0.28, 0.75), (-0.38, 0.38), (0.0, 0.5))  # x, y, z where an object can be dragged, metres
CLEAR = 0.09  # metres between a new object and the others


def labels(scene: Scene) -> dict[str, str]:
    """What a viewer reads -> object's name; alike objects are numbered."""
    found: dict[str, str] = {}
    for item in scene.objects:
        label, count = describe(item), 2
        while label in found:
            label, count = f"{describe(item)} {count}", count + 1
        found[label] = item.name
    return found


def drag(world: World, name: str, xyz: tuple[float, float, float]) -> None:
    """Put an object somewhere within reach at once, upright, not below the table."""
    bottom = float(half_extents(world.object(name).shape)[2])
    low = np.array([low for low, _ in REACH]) + (0.0, 0.0, bottom)
    place = np.clip(np.array(xyz), low, [high for _, high in REACH])
    world.move_object(name, place, world.object_yaw(name))


def as_it_lies(scene: Scene, world: World) -> Scene:
    """The scene with the objects that stand on the table where they are now."""
    carrying = {item.on for item in scene.objects}

    def moved(item: Object) -> Object:
        x, y, _ = world.object_position(item.name)
        return replace(item, xy=(float(x), float(y)), yaw=world.object_yaw(item.name))

    lies = tuple(moved(o) if o.on == "table" and o.name not in carrying else o for o in scene.objects)
    return replace(scene, objects=lies)


def changed(scene: Scene, name: str, shape: str | None = None, colour: str | None = None) -> Scene:
    """The scene with one object of another shape or colour."""
    objects = tuple(
        replace(o, shape=shape or o.shape, colour=colour or o.colour) if o.name == name else o for o in scene.objects
    )
    return replace(scene, objects=objects)


def without(task: TaskInstance, scene: Scene, name: str) -> Scene:
    """The scene without an object.

    Raises:
        OptionError: another object stands on it, or the task cannot be judged without it.
    """
    standing = [describe(o) for o in scene.objects if o.on == name]
    judged = {*task.object_names, *(a for p in task.goal for a in p.args)}
    if standing or name in judged:
        reason = f"{standing[0]} stands on it" if standing else "the simulator judges success by it"
        raise OptionError(
            "this object cannot be removed", key="remove", found=reason, remedy="choose another, or change its colour"
        )
    return replace(scene, objects=tuple(o for o in scene.objects if o.name != name))


def with_one_more(scene: Scene) -> Scene:
    """The scene with a further object, in a colour and shape that it lacks, where there is room.

    Raises:
        OptionError: the scene is full.
    """
    place = next(_free_places(scene), None)
    if len(scene.objects) >= MAX_OBJECTS or place is None:
        raise OptionError(
            "there is no room for another object",
            key="add",
            expected=f"at most {MAX_OBJECTS} objects",
            found=len(scene.objects),
            remedy="remove one first",
        )
    names = {o.name for o in scene.objects}
    name = next(f"added{k}" for k in range(1, MAX_OBJECTS + 1) if f"added{k}" not in names)
    colour = next(c for c in COLOURS if c not in {o.colour for o in scene.objects})
    shape = next(s for s in SHAPES if s not in {o.shape for o in scene.objects})
    return replace(scene, objects=(*scene.objects, Object(name, shape, colour, place)))


def _free_places(scene: Scene) -> Iterator[tuple[float, float]]:
    for x in np.linspace(*OBJECT_REGION[0], 8):
        for y in np.linspace(*OBJECT_REGION[1], 9):
            if all(np.hypot(x - o.xy[0], y - o.xy[1]) >= CLEAR for o in scene.objects):
                yield float(x), float(y)
