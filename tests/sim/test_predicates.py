"""Predicates of success: each condition alone, at its limit and just inside it; and the language of goals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.tasks.predicates import (
    BESIDE,
    BESIDE_SPOT,
    CLOSED,
    CONTAINERS,
    DIRECTIONS,
    LIFTED,
    LOW,
    ON_TABLE,
    OPEN,
    SIGNATURES,
    Predicate,
    SceneView,
    check_argument,
    ground,
    holds,
    in_direction,
    parse,
)
from sim.world.scene import CABINET_HALF, CABINET_HEIGHT, Object, Scene, Zone
from vla_agent.errors import TaskError

QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)
TINY = 1e-6
TRAY, HALF = (0.5, 0.25), (0.075, 0.065)


class Stage(SceneView):
    """A scene in which positions, contacts and the gripper are set by hand."""

    def __init__(self, held: tuple[str, ...] = (), touching=(("a", "table"), ("b", "table")), **xyz) -> None:
        zones = (Zone("red", (0.25, 0.0), half=0.0625), Zone("blue", (0.25, 0.5)))
        things = tuple(Object(name, "cube", "green", (0.0, 0.0)) for name in "ab")
        super().__init__(Scene(things, (), zones, tray_xy=TRAY, cabinet_xy=(0.25, -0.25), drawer_open=0.5))
        self.xyz = {"a": (0.5, 0.0, 0.02), "b": (0.5, 0.25, 0.02)} | xyz
        self.in_hand, self.contacts, self.opening, self.pushed = held, set(touching), 0.5, {"red"}

    def object_position(self, name):
        return np.array(self.xyz[name])

    def object_half_extents(self, name):
        return np.array([0.02, 0.03, 0.04])

    def held(self, name):
        return name in self.in_hand

    def touching(self, a, b):
        return (a, b) in self.contacts

    def drawer_opening(self):
        return self.opening

    def button_pressed(self, colour):
        return colour in self.pushed


def true(text: str, stage: SceneView) -> bool:
    (predicate,) = ground(parse(text, {"a": 0, "b": 0}, {}, file="", key=""), stage.scene, {}, {})
    return holds(predicate, stage)


def test_the_limits_are_these():
    assert (OPEN, CLOSED, BESIDE, BESIDE_SPOT) == (0.8, 0.1, (0.04, 0.17), 0.10)
    assert (LOW, LIFTED, ON_TABLE) == (0.10, 0.25, 0.11)
    assert DIRECTIONS == {"left of": (0.0, -1.0), "right of": (0.0, 1.0), "in front of": (1.0, 0.0)}


# In a container


@pytest.mark.parametrize(
    ("xyz", "inside"),
    [
        ((TRAY[0] + HALF[0] - TINY, TRAY[1], 0.02), True),
        ((TRAY[0] + HALF[0] + TINY, TRAY[1], 0.02), False),
        ((TRAY[0] - HALF[0] + TINY, TRAY[1], 0.02), True),
        ((TRAY[0] - HALF[0] - TINY, TRAY[1], 0.02), False),
        ((TRAY[0], TRAY[1] + HALF[1] - TINY, 0.02), True),
        ((TRAY[0], TRAY[1] + HALF[1] + TINY, 0.02), False),
        ((TRAY[0], TRAY[1] - HALF[1] - TINY, 0.02), False),
        ((TRAY[0], TRAY[1], LOW - TINY), True),
        ((TRAY[0], TRAY[1], LOW), False),
        ((TRAY[0], TRAY[1], -0.03 + TINY), True),
        ((TRAY[0], TRAY[1], -0.03), False),
        ((*TRAY, 0.0), True),
    ],
)
def test_in_the_tray_is_inside_its_rectangle_and_low(xyz, inside):
    assert true("in(a, tray)", Stage(a=xyz)) is inside
    assert (
        not true("in(a, tray)", Stage(a=xyz, held=("a",))) and true("in(a, tray)", Stage(a=xyz, held=("b",))) is inside
    )


class StageAtZero(Stage):
    def tray(self):
        return np.zeros(3)


@pytest.mark.parametrize("xy", [(HALF[0], 0.0), (-HALF[0], 0.0), (0.0, HALF[1]), (0.0, -HALF[1])])
def test_the_rectangles_edge_belongs_to_it(xy):
    assert true("in(a, tray)", StageAtZero(a=(*xy, 0.02)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_in_the_drawer_is_inside_its_interior_where_it_stands_open(axis, sign):
    centre = np.array([0.25 + 0.004 + 0.13 * 0.5, -0.25, 0.02])
    for beyond, inside in ((-TINY, True), (TINY, False)):
        offset = np.where(np.arange(3) == axis, sign * ((0.061, 0.055)[axis] + beyond), 0.0)
        assert true("in(a, drawer)", Stage(a=tuple(centre + offset))) is inside
    assert not true("in(a, drawer)", Stage(a=(*TRAY, 0.02)))


# On something


def on(held: tuple[str, ...] = (), contacts=(("a", "b"),), **offset) -> bool:
    d = {"x": 0.0, "y": 0.0, "z": 0.04} | offset
    return true("on(a, b)", Stage(held, contacts, a=(0.5 + d["x"], 0.25 + d["y"], 0.02 + d["z"])))


def test_on_an_object_is_above_it_touching_it_and_not_the_table_and_released():
    assert on() and on(z=0.5 * 0.04 + TINY) and not on(z=0.5 * 0.04 - TINY)
    assert on(x=0.04 - TINY) and not on(x=0.04 + TINY) and on(y=-0.04 + TINY) and not on(y=-0.04 - TINY)
    assert not on(x=0.03, y=0.03), "the distance counts, not each axis"
    assert not on(held=("a",)) and on(held=("b",))
    assert not on(contacts=()) and not on(contacts=(("a", "b"), ("a", "table"))) and not on(contacts=(("b", "a"),))


def cabinet(held: tuple[str, ...] = (), contacts=(("a", "cabinet"),), x: float = 0.0, y: float = 0.0) -> bool:
    return true("on(a, cabinet)", Stage(held, contacts, a=(0.25 + x, -0.25 + y, CABINET_HEIGHT + 0.02)))


def test_on_the_cabinet_is_over_its_upper_side_touching_it_and_released():
    hx, hy = CABINET_HALF
    assert cabinet() and cabinet(x=hx - TINY) and cabinet(y=-hy + TINY)
    assert not any((cabinet(x=hx + TINY), cabinet(x=-hx - TINY), cabinet(y=hy + TINY), cabinet(y=-hy - TINY)))
    assert not cabinet(held=("a",)) and not cabinet(contacts=()) and cabinet(held=("b",))


# At a zone


@pytest.mark.parametrize(
    ("xyz", "inside"),
    [
        ((0.3125, 0.0, 0.02), True),
        ((0.3125 + TINY, 0.0, 0.02), False),
        ((0.1875, 0.0, 0.02), True),
        ((0.1875 - TINY, 0.0, 0.02), False),
        ((0.25, 0.0625, 0.02), True),
        ((0.25, 0.0625 + TINY, 0.02), False),
        ((0.25, -0.0625 - TINY, 0.02), False),
        ((0.25, 0.0, ON_TABLE - TINY), True),
        ((0.25, 0.0, ON_TABLE), False),
        ((0.25, 0.5, 0.02), False),
    ],
)
def test_at_a_zone_is_inside_its_square_on_the_table(xyz, inside):
    assert true("at(a, red)", Stage(a=xyz)) is inside
    assert not true("at(a, red)", Stage(a=xyz, held=("a",))) and not true("at(a, green)", Stage(a=xyz))


# Beside


@pytest.mark.parametrize(
    ("dx", "dy", "direction", "inside"),
    [
        (0.0, -0.1, "left of", True),
        (0.0, 0.1, "left of", False),
        (0.0, 0.1, "right of", True),
        (0.1, 0.0, "in front of", True),
        (-0.1, 0.0, "in front of", False),
        (0.1, 0.1, "in front of", True),
        (0.1, 0.1 + TINY, "in front of", False),
        (0.1, -0.1, "in front of", True),
        (0.1, -0.1 - TINY, "in front of", False),
        (-0.1, 0.1, "right of", True),
        (-0.1 - TINY, 0.1, "right of", False),
        (0.0, 0.0, "left of", False),
        (0.0, 0.0, "in front of", False),
    ],
)
def test_a_direction_is_within_45_degrees(dx, dy, direction, inside):
    assert in_direction(dx, dy, direction) is inside


@QUICK
@given(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_an_offset_lies_in_one_direction_or_behind(dx, dy):
    angle = np.degrees(np.arctan2(dy, dx))
    if min(abs(abs(angle) - 45), abs(abs(angle) - 135)) > 1e-3 and np.hypot(dx, dy) > 1e-9:
        found = [d for d in DIRECTIONS if in_direction(dx, dy, d)]
        assert found == (
            ["in front of"] if abs(angle) < 45 else [] if abs(angle) > 135 else ["right of" if dy > 0 else "left of"]
        )


def beside(
    distance: float = 0.1, held: tuple[str, ...] = (), contacts=(("a", "table"), ("b", "table")), za=0.02, zb=0.02
):
    """Whether a is right of b: y is to the right."""
    stage = Stage(held, contacts, a=(0.5, distance, za), b=(0.5, 0.0, zb))
    found = {t: true(t, stage) for t in ("beside(a, b, right of)", "right_of(a, b)", "left_of(b, a)")}
    assert len(set(found.values())) == 1, "two ways to say it"
    return found["right_of(a, b)"]


def test_beside_is_near_and_not_too_near():
    assert beside() and beside(0.04) and not beside(0.04 - TINY) and beside(0.17) and not beside(0.17 + TINY)


def test_beside_is_on_the_table_both_and_released_both():
    assert not beside(held=("a",)) and not beside(held=("b",))
    assert not beside(contacts=(("a", "table"),)) and not beside(contacts=(("b", "table"),))
    assert beside(za=ON_TABLE - TINY) and not beside(za=ON_TABLE) and not beside(za=2 * ON_TABLE)
    assert beside(zb=ON_TABLE - TINY) and not beside(zb=ON_TABLE)


# The others


def test_lifted_is_held_and_high():
    high, low = (0.5, 0.0, LIFTED), (0.5, 0.0, LIFTED - TINY)
    assert true("lifted(a)", Stage(held=("a",), a=high)) and not true("lifted(a)", Stage(held=("a",), a=low))
    assert not true("lifted(a)", Stage(a=high)) and not true("lifted(a)", Stage(held=("b",), a=high))


@pytest.mark.parametrize(
    ("opening", "is_open", "is_closed"),
    [
        (0.8, True, False),
        (0.8 - TINY, False, False),
        (0.1, False, True),
        (0.1 + TINY, False, False),
        (0.0, False, True),
    ],
)
def test_the_drawer(opening, is_open, is_closed):
    stage = Stage()
    stage.opening = opening
    assert (true("open(drawer)", stage), true("closed(drawer)", stage)) == (is_open, is_closed)


def test_a_button():
    assert true("pressed(red)", Stage()) and not true("pressed(blue)", Stage())


# A scene as it is laid out


def test_what_predicates_read_of_a_scene_without_physics():
    things = (
        Object("a", "cube", "red", (0.5, 0.1)),
        Object("b", "cube", "red", (0.5, 0.1), on="a"),
        Object("c", "cube", "red", (0.5, 0.1), on="b"),
        Object("d", "cube", "red", (0.3, 0.2), on="tray"),
        Object("e", "cube", "red", (0.3, 0.2), on="drawer"),
    )
    view = SceneView(Scene(things, (), (), tray_xy=(0.4, 0.3), cabinet_xy=(0.2, -0.3), drawer_open=0.5))
    assert [view.object_position(o.name).tolist() for o in things] == [
        [0.5, 0.1, 0.02],
        pytest.approx([0.5, 0.1, 0.06]),
        pytest.approx([0.5, 0.1, 0.10]),
        [0.3, 0.2, 0.02],
        [0.3, 0.2, 0.02],
    ]
    assert (
        view.object_half_extents("a").tolist() == [0.02] * 3 and not view.held("a") and not view.button_pressed("red")
    )
    assert view.touching("b", "a") and view.touching("a", "table") and not view.touching("b", "table")
    assert view.tray().tolist() == [0.4, 0.3, 0.0] and view.TRAY_HALF == HALF and view.drawer_opening() == 0.5
    (centre, half), (top, width) = view.drawer_interior(), view.cabinet_top()
    assert centre == pytest.approx([0.2 + 0.004 + 0.065, -0.3, 0]) and half == (0.061, 0.055)
    assert top.tolist() == [0.2, -0.3, CABINET_HEIGHT] and width == CABINET_HALF
    assert true("on(b, a)", view) and holds(Predicate("on", ("c", "b")), view)


# The language


def test_every_predicate_is_read_and_written_the_same():
    text = (
        "in(a, tray) and all_in(red, drawer) and on(a, cabinet) and on(a, b) and at(a, zone) and lifted(a) and "
        "beside(a, b, left of) and left_of(a, b) and right_of(a, b) and in_front_of(a, b) and open(drawer) and "
        "closed(drawer) and pressed(colour)"
    )
    read = parse(f"  {text} ", {"a": 0, "b": 0}, {"zone": 0, "colour": 0}, file="", key="")
    assert " and ".join(map(str, read)) == text and {p.name for p in read} == set(SIGNATURES)
    assert parse("in( a ,tray )\n and\tlifted (b)", {"a": 0, "b": 0}, {}, file="", key="") == (
        Predicate("in", ("a", "tray")),
        Predicate("lifted", ("b",)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "in",
        "in a, tray",
        "in(a, tray",
        "in(a, tray)) and",
        "in(a, tray), on(a, b)",
        "in(a, tray) or on(a, b)",
        "in(a, (tray))",
        "not in(a, tray)",
    ],
)
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(TaskError, match="cannot be read") as caught:
        parse(text, {"a": 0, "b": 0}, {}, file="f.yaml:3", key="goal")
    assert (caught.value.file, caught.value.key) == ("f.yaml:3", "goal")


def test_an_argument_that_is_no_name_is_refused():
    with pytest.raises(TaskError, match="there is no such role"):
        parse("in(a, tray) and in(thing, tray)", {"a": 0}, {}, file="", key="")


def test_an_unknown_predicate_and_a_wrong_number_of_arguments_are_refused():
    for text, word in (
        ("inn(a, tray)", "no such predicate"),
        ("in(a)", "wrong number"),
        ("in(a, tray, tray)", "wrong number"),
    ):
        with pytest.raises(TaskError, match=word) as caught:
            parse(f"lifted(a) and {text}", {"a": 0}, {}, file="f.yaml:3", key="goal")
        assert (caught.value.file, caught.value.key) == ("f.yaml:3", "goal")
    with pytest.raises(TaskError) as caught:
        parse("lifted(a, b)", {"a": 0}, {}, file="", key="")
    assert caught.value.remedy == "give 1 argument"
    with pytest.raises(TaskError) as caught:
        parse("in(a)", {"a": 0}, {}, file="", key="")
    assert caught.value.remedy == "give 2 arguments"


KINDS = {
    "role": (["a", "b"], ["cabinet", "tray", "red", "zone"]),
    "support": (["a", "b", "cabinet"], ["tray", "red", "table"]),
    "container": (list(CONTAINERS), ["a", "cabinet", "drawers"]),
    "drawer": (["drawer"], ["tray", "a"]),
    "colour": (["zone", "red", "black"], ["a", "left of", "pink"]),
    "zone": (["zone", "red", "black"], ["a", "left of"]),
    "direction": (["zone", "left of", "right of", "in front of"], ["a", "red", "behind", "left"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_argument_has_its_own_names(kind):
    good, bad = KINDS[kind]
    for name in good:
        check_argument(name, kind, {"a": 0, "b": 0}, {"zone": 0}, file="f", key="k")
    for name in (*bad, "", 3):
        with pytest.raises(TaskError, match=f"there is no such {kind}") as caught:
            check_argument(name, kind, {"a": 0, "b": 0}, {"zone": 0}, file="f", key="k")
        assert set(good) <= set(caught.value.expected.split(", "))
        assert (caught.value.file, caught.value.key, caught.value.found) == ("f", "k", str(name))
    with pytest.raises(TaskError) as caught:
        check_argument("a", "role", {}, {}, file="f", key="k")
    assert caught.value.expected == "the task declares no role"


def test_grounding_names_the_scenes_objects_and_what_was_chosen():
    scene = Scene(
        (Object("x", "cube", "red", (0, 0)), Object("y", "ball", "blue", (0, 0)), Object("z", "mug", "red", (0, 0))),
        (),
        (),
    )
    read = parse(
        "all_in(hue, tray) and left_of(a, b) and in_front_of(b, a) and in(a, tray) and at(b, hue) "
        "and beside(a, b, way)",
        {"a": 0, "b": 0},
        {"hue": 0, "way": 0},
        file="",
        key="",
    )
    grounded = ground(read, scene, {"a": "x", "b": "y"}, {"hue": "red", "way": "left of"})
    assert list(map(str, grounded)) == [
        "in(x, tray)",
        "in(z, tray)",
        "beside(x, y, left of)",
        "beside(y, x, in front of)",
        "at(y, red)",
    ], "each once"
    assert ground(read[:1], scene, {}, {"hue": "green"}) == ()
    assert (
        str(ground(parse("right_of(a, b)", {"a": 0, "b": 0}, {}, file="", key=""), scene, {}, {})[0])
        == "beside(a, b, right of)"
    )
