"""Questions about an image: prompts, answers and the points that they mean.

Directions are those of the front camera's image, as in the instructions.  Every kind of question is a function of the
visible scene and the random generator; it returns None where the scene does not allow the question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from sim.tasks.predicates import CLOSED, DIRECTIONS, OPEN, Predicate, in_direction
from sim.tasks.scene_layout import ALL_PAIRS, HELD_OUT_PAIRS
from sim.tasks.task import TaskInstance, describe
from sim.world.scene import COLOURS, Object
from sim.world.world import World

T = TypeVar("T")
NUMBERS = ("none", "one", "two", "three", "four", "five", "six")
ALLOWED_PAIRS = tuple(p for p in ALL_PAIRS if p not in HELD_OUT_PAIRS)
LEFT, RIGHT, FAR, NEAR = -0.05, 0.04, 0.485, 0.545  # borders of "left", "right", "far", "near" in y and x, metres


@dataclass(frozen=True)
class Item:
    """One prompt with its answer.

    located: (2, 3) target and goal, base frame, metres; None for nothing.
    mentions: (colour, shape) of the objects in the prompt, the one to handle first; "" for what it leaves open.
    """

    kind: str
    prompt: str
    answer: str
    located: np.ndarray | None = None
    mentions: tuple[tuple[str, str], ...] = ()


class VisibleScene:
    """What the images show, as the questions need it."""

    def __init__(self, world: World, held: str | None) -> None:
        assert world.scene is not None
        self.world, self.scene, self.held = world, world.scene, held
        self.objects = self.scene.objects

    @cached_property
    def on_table(self) -> list[tuple[Object, np.ndarray]]:
        """Objects that stand on the table, with their positions (3,)."""
        return [
            (o, self.world.object_position(o.name)) for o in self.objects if o.on == "table" and o.name != self.held
        ]

    @cached_property
    def relations(self) -> list[tuple[Object, str, Object]]:
        """Every true ``(a, "left of", b)`` between objects on the table."""
        found = []
        for a, p in self.on_table:
            for b, q in self.on_table:
                for name in DIRECTIONS:
                    if a is not b and in_direction(p[0] - q[0], p[1] - q[1], name):
                        found.append((a, name, b))
        return found

    def place(self, o: Object) -> str:
        """Where an object is, in words."""
        if o.name == self.held:
            return "in the gripper"
        if o.on in ("tray", "drawer"):
            return f"in the {o.on}"
        if o.on != "table":
            return f"on the {describe(next(b for b in self.objects if b.name == o.on))}"
        return position_words(self.world.object_position(o.name))


def position_words(xyz: np.ndarray) -> str:
    """``left near``: side and depth in the front camera's image."""
    side = "left" if xyz[1] < LEFT else "right" if xyz[1] > RIGHT else "middle"
    return f"{side} {'near' if xyz[0] > NEAR else 'far' if xyz[0] < FAR else 'centre'}"


def goal_words(goal: tuple[Predicate, ...], objects: dict[str, Object]) -> str:
    """A goal in short: ``red mug to tray``."""
    parts = []
    for p in goal:
        first, *rest = [describe(objects[a]) if a in objects else a for a in p.args]
        match p.name:
            case "in":
                parts.append(f"{first} to {rest[0]}")
            case "at":
                parts.append(f"{first} to {rest[0]} zone")
            case "on":
                parts.append(f"{first} on {rest[0]}")
            case "beside":
                parts.append(f"{first} {rest[1]} {rest[0]}")
            case "pressed":
                parts.append(f"{first} button")
            case _:  # open, closed
                parts.append(f"{first} {p.name}")
    return " and ".join(parts)


def mentions_of(task: TaskInstance) -> tuple[tuple[str, str], ...]:
    """What an instruction mentions, the object to handle first: ``(("red", "mug"), ("blue", "cube"))``."""
    gathered = [s.args["colour"] for s in task.skills if s.name == "gather"]
    if gathered:
        return ((gathered[0], ""),)
    objects = {o.name: (o.colour, o.shape) for o in task.scene.objects}
    names = [a for p in task.goal for a in p.args if a in objects or a in COLOURS]
    return tuple(objects.get(a, (a, "")) for a in dict.fromkeys(names))


def _pair(o: Object) -> tuple[str, str]:
    return o.colour, o.shape


def _choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _point(xyz: np.ndarray) -> np.ndarray:
    return np.stack([xyz, xyz]).astype(np.float32)


def where(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    o = _choose(rng, visible.objects)
    prompt = _choose(rng, ("where is the {}?", "find the {}", "point at the {}", "show me the {}", "look for the {}"))
    xyz = visible.world.object_position(o.name)
    return Item("where", prompt.format(describe(o)), visible.place(o), _point(xyz), (_pair(o),))


def where_fixture(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    """A button, a zone, the tray, the drawer's inside or its handle."""
    world = visible.world
    drawer, _ = world.drawer_interior()
    fixtures = {"tray": world.tray(), "drawer": drawer, "handle of the drawer": world.drawer_handle()}
    buttons = {f"{b.colour} button": world.button_position(b.colour) for b in visible.scene.buttons}
    zones = {f"{z.colour} {_choose(rng, ('zone', 'square'))}": np.array([*z.xy, 0.0]) for z in visible.scene.zones}
    name, xyz = _choose(rng, list(_choose(rng, (fixtures, buttons, buttons, zones)).items()))
    prompt = _choose(rng, ("where is the {}?", "find the {}", "point at the {}", "show me the {}", "look for the {}"))
    colour = name.split()[0]
    mentions = ((colour, ""),) if colour in COLOURS else ()
    return Item("where", prompt.format(name), position_words(xyz), _point(xyz), mentions)


def what_colour(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    counts = Counter(o.shape for o in visible.objects)
    unique = [o for o in visible.objects if counts[o.shape] == 1]
    if not unique:
        return None
    o = _choose(rng, unique)
    prompt = _choose(rng, ("what colour is the {}?", "which colour has the {}?", "the colour of the {}?"))
    xyz = visible.world.object_position(o.name)
    return Item("colour", prompt.format(o.shape), o.colour, _point(xyz), (("", o.shape),))


def what_shape(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    counts = Counter(o.colour for o in visible.objects)
    unique = [o for o in visible.objects if counts[o.colour] == 1]
    if not unique:
        return None
    o = _choose(rng, unique)
    prompt = _choose(rng, ("what is the {} object?", "which object is {}?", "name the {} thing"))
    xyz = visible.world.object_position(o.name)
    return Item("shape", prompt.format(o.colour), o.shape, _point(xyz), ((o.colour, ""),))


def is_there(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    """Half of the answers are yes; absent objects share colour or shape with one that is present."""
    present = [(o.colour, o.shape) for o in visible.objects]
    prompt = _choose(rng, ("is there a {} {}?", "do you see a {} {}?", "can you see a {} {}?"))
    if rng.random() < 0.5:
        k = int(rng.integers(len(present)))
        xyz = visible.world.object_position(visible.objects[k].name)
        return Item("exists", prompt.format(*present[k]), "yes", _point(xyz), (present[k],))
    colours, shapes = {c for c, _ in present}, {s for _, s in present}
    absent = [p for p in ALLOWED_PAIRS if p not in present and (p[0] in colours) != (p[1] in shapes)]
    absent += [p for p in ALLOWED_PAIRS if p not in present and p[0] in colours and p[1] in shapes]
    pair = _choose(rng, absent)
    return Item("exists", prompt.format(*pair), "no", mentions=(pair,))


def relation(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    """Half of the answers are yes."""
    if not visible.relations:
        return None
    a, direction, b = _choose(rng, visible.relations)
    answer = "yes"
    if rng.random() < 0.5:
        true = {d for c, d, e in visible.relations if c is a and e is b}
        direction, answer = _choose(rng, [d for d in DIRECTIONS if d not in true]), "no"
    prompt = _choose(rng, ("is the {} {} the {}?", "does the {} stand {} the {}?", "do you see the {} {} the {}?"))
    return Item("relation", prompt.format(describe(a), direction, describe(b)), answer, mentions=(_pair(a), _pair(b)))


def what_is_beside(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    """The only object in that direction, or nothing."""
    if len(visible.on_table) < 2:
        return None
    b = _choose(rng, visible.on_table)[0]
    direction = _choose(rng, list(DIRECTIONS))
    found = [a for a, d, c in visible.relations if c is b and d == direction]
    if len(found) > 1:
        return None
    prompt = _choose(rng, ("what is {} the {}?", "what stands {} the {}?", "which object is {} the {}?"))
    answer = describe(found[0]) if found else "nothing"
    located = _point(visible.world.object_position(found[0].name)) if found else None
    return Item("beside", prompt.format(direction, describe(b)), answer, located, (_pair(b),))


def count(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    if rng.random() < 0.2:
        prompt = _choose(rng, ("how many objects do you see?", "how many things are there?", "count the objects"))
        return Item("count", prompt, NUMBERS[len(visible.objects)])
    colour = _choose(rng, [o.colour for o in visible.objects]) if rng.random() < 0.8 else _choose(rng, list(COLOURS))
    prompt = _choose(rng, ("how many {} objects do you see?", "how many {} things are there?", "count the {} objects"))
    number = NUMBERS[sum(o.colour == colour for o in visible.objects)]
    return Item("count", prompt.format(colour), number, mentions=((colour, ""),))


def drawer_state(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    opening = visible.world.drawer_opening()
    prompt = _choose(rng, ("is the drawer open?", "how far is the drawer open?", "do you see an open drawer?"))
    answer = "yes" if opening >= OPEN else "no" if opening <= CLOSED else "half"
    return Item("drawer", prompt, answer, _point(visible.world.drawer_handle()))


def gripper_state(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    prompt = _choose(rng, ("what is in the gripper?", "what does the gripper hold?", "what do you hold?"))
    held = next((describe(o) for o in visible.objects if o.name == visible.held), "nothing")
    return Item("gripper", prompt, held, _point(visible.world.ee_position))


def caption(visible: VisibleScene, rng: np.random.Generator) -> Item | None:
    prompt = _choose(rng, ("describe the picture", "what do you see?", "say what is on the table"))
    if visible.relations and rng.random() < 0.5:
        a, direction, b = _choose(rng, visible.relations)
        return Item("caption", prompt, f"a {describe(a)} is {direction} a {describe(b)}")
    row = sorted(visible.on_table, key=lambda pair: pair[1][1])
    return Item("caption", "name the objects from left to right", ", ".join(describe(o) for o, _ in row) or "nothing")


Question = Callable[[VisibleScene, np.random.Generator], Item | None]
# Kinds of question with their weights.
QUESTIONS: dict[Question, float] = {
    where: 2.0,
    where_fixture: 2.0,
    what_colour: 1.0,
    what_shape: 0.7,
    is_there: 1.0,
    relation: 1.5,
    what_is_beside: 0.7,
    count: 0.7,
    drawer_state: 0.4,
    gripper_state: 0.4,
    caption: 0.8,
}
