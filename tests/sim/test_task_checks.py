"""Task files: each refusal alone, at its limit and just inside it; and what a file's scenes and instructions may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim.tasks.predicates import Predicate, SceneView
from sim.tasks.scene_layout import HELD_OUT_PAIRS, lay_out
from sim.tasks.task import (
    MAX_OTHER_INSTRUCTIONS,
    SUITES,
    Skill,
    TaskFamily,
    TaskInstance,
    _scene_has_all,
    describe,
    load_family,
    load_suite,
    select,
)
from sim.tasks.task_file import FREE_FORMS, SKILLS, FamilySpec, SourceLines, read
from sim.world.scene import COLOURS, OBJECT_REGION, Button, Object, Scene, Zone
from vla_agent.errors import TaskError

TEXT = """\
name: mine
description: One object goes beside another.
choose:
  way: [left of, right of]
objects:
  target: {shapes: [cube, ball], colours: [blue, green], x: [0.45, 0.6]}
  reference: {}
distractors: {count: [0, 2]}
start:
  drawer_open: [0.0, 0.5]
  not: ["beside(target, reference, way)"]
  hold: ["closed(drawer)"]
  free:
    - {beside: reference, direction: way}
wordings:
  train:
    - "put the {target} {way} the {reference}"
    - "{way} the {reference} goes the {target}"
  held_out:
    - "set the {target} {way} the {reference}"
goal: beside(target, reference, way) and closed(drawer)
time_limit: 240
expert:
  - pick: target
  - place: {beside: reference, direction: way}
  - push_drawer
"""
SHORT = """\
name: a
description: b
wordings: {train: [go]}
goal: open(drawer)
time_limit: 1
expert: [pull_drawer]
"""


@pytest.fixture
def write(tmp_path):
    def made(*changes: tuple[str, str], text: str = TEXT) -> Path:
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        file = tmp_path / "mine.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return made


def refused(file: Path) -> TaskError:
    with pytest.raises(TaskError) as caught:
        load_family(file)
    return caught.value


def line_of(file: Path, part: str) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return f"{file}:{next(i for i, line in enumerate(lines, 1) if part in line)}"


def test_a_good_file_is_read_as_it_is_written(write):
    family = load_family(write())
    assert (family.name, family.time_limit, family.description) == ("mine", 240, "One object goes beside another.")
    assert family.spec.start.drawer_open == (0.0, 0.5) and family.spec.objects["target"].x == (0.45, 0.6)
    assert family.spec.objects["reference"].x == OBJECT_REGION[0] and family.spec.objects["reference"].shapes == ["all"]
    assert [str(p) for p in (*family.goal, *family.not_at_start, *family.hold_at_start)] == [
        "beside(target, reference, way)",
        "closed(drawer)",
        "beside(target, reference, way)",
        "closed(drawer)",
    ]
    assert family.expert == (
        ("pick", {"object": "target"}),
        ("place", {"beside": "reference", "direction": "way"}),
        ("push_drawer", {}),
    )
    assert family.named_roles == ("target", "reference") and repr(family) == "TaskFamily('mine')"


def test_what_a_file_may_leave_out(write):
    spec, _ = read(write(text=SHORT))
    assert (spec.choose, spec.objects, spec.distractors.count, spec.distractors.not_colours) == ({}, {}, (2, 4), [])
    assert (spec.start.drawer_open, spec.start.not_, spec.start.hold, spec.start.free) == (None, [], [], [])
    assert spec.wordings.held_out == []
    spec, _ = read(
        write(
            text=SHORT
            + "objects: {target: {shapes: mug, colours: red}}\nstart: {drawer_open: any, hold: ['open(drawer)']}\n"
        )
    )
    assert spec.start.hold == ["open(drawer)"]
    assert spec.objects["target"].shapes == ["mug"] and spec.start.drawer_open is None


# Whole files


def test_a_file_that_is_missing_or_no_text(tmp_path):
    error = refused(tmp_path / "none.yaml")
    assert str(tmp_path / "none.yaml") in error.file and error.expected and error.remedy
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    error = refused(tmp_path / "mine.yaml")
    assert str(tmp_path / "mine.yaml") in error.file and "text" in str(error) and error.remedy


def test_a_file_that_is_no_yaml_is_located(write):
    error = refused(write(("goal: beside", "goal: [beside")))
    assert error.what == "the task file is not valid YAML" and error.file.rpartition(":")[2].isdigit()
    assert error.key.startswith("column ") and error.found
    file = write(("time_limit: 240", "time_limit: 240: 3"))
    error = refused(file)
    assert error.file == line_of(file, "time_limit") and error.key == "column 16"


@pytest.mark.parametrize(("text", "found"), [("- a\n", "CommentedSeq"), ("", "NoneType"), ("words", "str")])
def test_a_file_without_keys(write, text, found):
    file = write(text=text)
    error = refused(file)
    assert (error.what, error.file, error.found) == ("the task file has no keys", f"{file}:1", found)
    assert error.expected.split(", ")[:2] == ["name", "description"]


def test_lines_are_those_of_the_deepest_part_that_the_file_has(write):
    file = write()
    _, lines = read(file)
    assert lines.at(("start", "not", 0)) == line_of(file, "not:")
    assert lines.at(("objects", "reference")) == line_of(file, "reference: {}")
    assert lines.at(("wordings", "train", 1)) == line_of(file, "goes the")
    assert lines.at(("start", "hold", 7)) == line_of(file, "hold:")
    assert lines.at(("objects", "nothing", "reference")) == lines.at(("objects",))
    assert lines.at(("objects", "nothing", "x")) == line_of(file, "objects:")
    assert lines.at(("nothing",)) == lines.at(()) == f"{file}:1"
    assert SourceLines(file, None).at(("a",)) == f"{file}:1"


# Keys

KEYS = [
    (("time_limit:", "time_limits:"), "time_limits", "there is no such key", "time_limit"),
    (("  target: {shapes", "  target: {shape"), "objects.target.shape", "there is no such key", "shapes"),
    (("{count: [0, 2]}", "{counts: [0, 2]}"), "distractors.counts", "there is no such key", "not_colours"),
    (("  hold:", "  held:"), "start.held", "there is no such key", "not, hold"),
    (("  train:", "  training:"), "wordings.training", "there is no such key", "train, held_out"),
    (("time_limit: 240\n", ""), "time_limit", "a key is missing", "time_limit"),
    (("name: mine\n", ""), "name", "a key is missing", "name"),
    (("time_limit: 240", "time_limit: soon"), "time_limit", "a value is wrong", "integer"),
    (("time_limit: 240", "time_limit: 0"), "time_limit", "a value is wrong", "greater than 0"),
    (("time_limit: 240", "time_limit: 10001"), "time_limit", "a value is wrong", "10000"),
    (("name: mine", "name: Mine"), "name", "a value is wrong", "pattern"),
    (("name: mine", "name: 1mine"), "name", "a value is wrong", "pattern"),
    (("name: mine", "name: mi-ne"), "name", "a value is wrong", "pattern"),
    (("{count: [0, 2]}", "{count: [0, 1, 2]}"), "distractors.count", "a value is wrong", ""),
]


@pytest.mark.parametrize(("change", "key", "what", "expected"), KEYS)
def test_each_wrong_key_or_value_is_named(write, change, key, what, expected):
    file = write(change)
    error = refused(file)
    assert error.what == what and error.key.startswith(key) and expected in error.expected
    assert error.file == (line_of(file, change[1].strip()) if change[1] else f"{file}:1")
    if what == "a key is missing":
        assert (error.found, error.remedy) == ("nothing", f"add '{key}:'; sim/tasks/tabletop has examples")


def test_the_nearest_key_is_named_however_deep_it_lies(write):
    error = refused(write(("  target: {shapes", "  target: {shape")))
    assert error.found == "shape" and "shapes" in error.remedy


def test_a_misspelt_key_is_reported_before_the_one_that_it_leaves_missing(write):
    assert refused(write(("goal: beside", "gaol: beside"))).what == "there is no such key"


@pytest.mark.parametrize("value", ["time_limit: 1", "time_limit: 10000"])
def test_the_least_and_the_longest_time_are_taken(write, value):
    assert load_family(write(("time_limit: 240", value))).time_limit == int(value.split()[1])


def test_wordings_and_skills_must_be_there(write):
    error = refused(write(text=SHORT.replace("{train: [go]}", "{held_out: [go]}")))
    assert (error.what, error.key, error.expected) == ("a key is missing", "wordings.train", "train")
    assert (
        refused(
            write(
                (
                    '    - "put the {target} {way} the {reference}"\n    - "{way} the {reference} goes the {target}"\n',
                    "    []\n",
                )
            )
        ).key
        == "wordings.train"
    )
    text = TEXT[: TEXT.index("expert:")] + "expert: []\n"
    assert refused(write(text=text)).key == "expert"


# Names and numbers

WRONG_FORM = {"beside": "reference", "to": "way"}
REFUSED = [
    (("[left of, right of]", "[left of, behind]"), "choose.way", "behind"),
    (("  reference: {}", "  second one: {}"), "objects.second one", "second one"),
    (("[cube, ball]", "[cube, bal]"), "objects.target.shapes", "bal"),
    (("[blue, green]", "[blue, gren]"), "objects.target.colours", "gren"),
    (("[0.45, 0.6]", "[0.45, 0.631]"), "objects.target.x", "[0.45, 0.631]"),
    (("[0.45, 0.6]", "[0.399, 0.6]"), "objects.target.x", "[0.399, 0.6]"),
    (("[0.45, 0.6]", "[0.6, 0.45]"), "objects.target.x", "[0.6, 0.45]"),
    (("x: [0.45, 0.6]", "y: [-0.141, 0]"), "objects.target.y", "[-0.141, 0.0]"),
    (("x: [0.45, 0.6]", "y: [0, 0.141]"), "objects.target.y", "[0.0, 0.141]"),
    (("{count: [0, 2]}", "{count: [0, 2], not_colours: hue}"), "distractors.not_colours", "hue"),
    (("{count: [0, 2]}", "{count: [-1, 2]}"), "distractors.count", "[-1, 2]"),
    (("{count: [0, 2]}", "{count: [2, 1]}"), "distractors.count", "[2, 1]"),
    (("{count: [0, 2]}", "{count: [0, 6]}"), "distractors.count", "[0, 6]"),
    (("{count: [0, 2]}", "{count: [0, 4]}"), "distractors.count", "4"),
    (("[0.0, 0.5]", "[-0.1, 0.5]"), "start.drawer_open", "[-0.1, 0.5]"),
    (("[0.0, 0.5]", "[0.0, 1.01]"), "start.drawer_open", "[0.0, 1.01]"),
    (("{way} the {reference} goes", "{wy} the {reference} goes"), "wordings.train.1", "wy"),
    (("set the {target}", "set the {}"), "wordings.held_out.0", ""),
    (("goal: beside(target", "goal: beside(thing"), "goal", "thing"),
    (('["beside(target', '["beside(thing'), "start.not.0", "thing"),
    (('["closed(drawer)"]', '["closed(tray)"]'), "start.hold.0", "tray"),
    (("    - {beside: reference, ", "    - {beside: referenc, "), "start.free.0.beside", "referenc"),
    (("  - {beside: reference, direction", "  - {beside: reference, to"), "start.free.0", str(WRONG_FORM)),
    (("  - pick: target", "  - pik: target"), "expert.0", "pik"),
    (("  - pick: target", "  - pick: thing"), "expert.0.pick.object", "thing"),
    (("  - pick: target\n", ""), "expert.0", "place"),
    (("  - place: {beside: reference, direction: way}\n", ""), "expert.0", "pick"),
    (("  - pick: target\n", "  - pick: target\n  - pick: target\n"), "expert.0", "pick"),
    (("  - pick: target\n", "  - pick: target\n  - push_drawer\n"), "expert.0", "pick"),
    (("  - push_drawer", "  - push_drawer: target"), "expert.2.push_drawer", "target"),
    (("  - push_drawer", "  - {push_drawer: {}, pick: target}"), "expert.2", "{'push_drawer': {}, 'pick': 'target'}"),
    (("  - push_drawer", "  - lift"), "expert.2.lift", "{}"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "key", "found"), REFUSED)
def test_each_wrong_name_or_number_is_named(write, change, key, found):
    error = refused(write(change))
    with pytest.raises(TaskError):
        read(write(change))
    assert error.key == key and str(error.found).replace("CommentedMap", "") == found and error.remedy


TAKEN = [
    ("[left of, right of]", "[in front of, left of]"),
    ("[left of, right of]", "left of"),
    ("[cube, ball]", "all"),
    ("[blue, green]", "[way, black]"),
    ("[0.45, 0.6]", "[0.4, 0.63]"),
    ("[0.45, 0.6]", "[0.5, 0.5]"),
    ("x: [0.45, 0.6]", "y: [-0.14, 0.14]"),
    ("{count: [0, 2]}", "{count: [0, 3]}"),
    ("{count: [0, 2]}", "{count: [3, 3], not_colours: way}"),
    ("[0.0, 0.5]", "[0.0, 1.0]"),
    ("  - push_drawer", "  - push_drawer: {}"),
    ("  - push_drawer", "  - push_drawer:"),
    ("  - push_drawer", "  - lift: target"),
    ("  - push_drawer", "  - {push: {object: target, to: red}}"),
    ("  - push_drawer", "  - {gather: {colour: red, into: drawer}}"),
    ("  - place: {beside: reference, direction: way}", "  - place: {on: cabinet}"),
    ("    - {beside: reference, direction: way}", "    - {lane: target, to: red}"),
]


@pytest.mark.parametrize("change", TAKEN)
def test_what_is_just_inside_is_taken(write, change):
    assert load_family(write(change)).name == "mine"


def test_choices_may_be_the_scenes_own_colours(write):
    for source in ("buttons", "zones", "objects", "[red, blue]"):
        text = TEXT.replace("[left of, right of]", "[left of, right of]\n  hue: " + source)
        family = load_family(write(text=text.replace("{count: [0, 2]}", "{count: [0, 2], not_colours: hue}")))
        scene, choices = next(scenes(family))
        colours = {"buttons": scene.buttons, "zones": scene.zones}.get(source)
        assert choices["hue"] in ([c.colour for c in colours] if colours else list(COLOURS))
        assert all(o.colour != choices["hue"] for o in scene.objects if o.name.startswith("distractor"))


def scenes(family: TaskFamily):
    for seed in range(50):
        try:
            yield lay_out(family.spec, np.random.default_rng(seed), "seen")
        except Exception as error:  # no room with these draws
            assert type(error).__name__ == "NoLayout"


def test_the_words_of_skills_and_room_are_these():
    assert set(SKILLS) == {"pick", "place", "lift", "push", "pull_drawer", "push_drawer", "press", "gather"}
    assert [set(form) for form in FREE_FORMS] == [{"beside", "direction"}, {"lane", "to"}]
    assert {f.alias or n for n, f in FamilySpec.model_fields.items()} == {
        *(
            "name",
            "description",
            "choose",
            "objects",
            "distractors",
            "start",
            "wordings",
            "goal",
            "time_limit",
            "expert",
        )
    }


# Scenes and instructions


@pytest.fixture(scope="module")
def family(tmp_path_factory) -> TaskFamily:
    file = tmp_path_factory.mktemp("family") / "mine.yaml"
    file.write_text(TEXT.replace("drawer_open: [0.0, 0.5]", "drawer_open: [0.0, 0.05]"), encoding="utf-8")
    return load_family(file)


def test_wordings_are_those_of_the_split(family, write):
    train, held_out = family.wordings.train, family.wordings.held_out
    assert (
        family.wordings_of("seen") == family.wordings_of("objects") == train
        and family.wordings_of("wordings") == held_out
    )
    with pytest.raises(TaskError, match="no such split"):
        family.wordings_of("unseen")
    none = load_family(write(('  held_out:\n    - "set the {target} {way} the {reference}"\n', "")))
    with pytest.raises(TaskError, match="no held-out wordings"):
        none.wordings_of("wordings")
    assert none.wordings_of("seen") == train


def test_a_sampled_task_is_what_its_file_says(family):
    for seed in range(12):
        task = family.sample(np.random.default_rng(seed))
        target, reference = task.scene.objects[:2]
        assert (task.family, task.split, task.steps_limit) == ("mine", "seen", 240) and task.definition is family
        assert task.bindings["target"] == describe(target) == f"{target.colour} {target.shape}"
        assert task.bindings["reference"] == describe(reference) and task.bindings["way"] in ("left of", "right of")
        assert task.instruction in [w.format(**task.bindings) for w in family.wordings.train]
        assert task.goal == (
            Predicate("beside", ("target", "reference", task.bindings["way"])),
            Predicate("closed", ("drawer",)),
        )
        assert task.skills == (
            Skill("pick", {"object": "target"}),
            Skill("place", {"beside": "reference", "direction": task.bindings["way"]}),
            Skill("push_drawer", {}),
        )
        assert (
            target.colour in ("blue", "green") and target.shape in ("cube", "ball") and task.scene.drawer_open <= 0.05
        )
        assert task.object_names == ("target",) and task == family.sample(np.random.default_rng(seed))
    assert {family.sample(np.random.default_rng(s)).instruction.startswith("put") for s in range(12)} == {True, False}
    held_out = family.sample(np.random.default_rng(0), "wordings")
    assert held_out.instruction == family.wordings.held_out[0].format(**held_out.bindings)


def test_an_episode_is_its_seeds_and_its_families(family, write):
    a, b = family.episode(3), family.episode(3)
    assert a == b and a.seed == b.seed and family.episode(4) != a
    other = load_family(write(("name: mine", "name: other"), ("drawer_open: [0.0, 0.5]", "drawer_open: [0.0, 0.05]")))
    assert other.episode(3).scene != a.scene
    assert family.episode(3, "wordings").split == "wordings" and family.episode(3, "wordings").scene == a.scene


def test_the_split_of_held_out_pairs(write):
    never = [("[blue, green]", "[green]")]  # green mugs alone are held out, and the file has cubes and balls
    family = load_family(write(*never))
    assert not family.has_held_out_pairs
    with pytest.raises(TaskError, match="no scenes in the split 'objects'") as caught:
        family.sample(np.random.default_rng(0), "objects")
    assert caught.value.expected.startswith("a first object that allows one of black pear")
    red = load_family(write(("[blue, green]", "[red]"), ("drawer_open: [0.0, 0.5]", "drawer_open: [0.0, 0.05]")))
    assert red.has_held_out_pairs
    task = red.sample(np.random.default_rng(0), "objects")
    assert (task.scene.objects[0].colour, task.scene.objects[0].shape) in HELD_OUT_PAIRS
    bare = SHORT + "start: {not: ['open(drawer)']}\n"
    assert load_family(write(text=bare)).has_held_out_pairs
    pairs = {
        (o.colour, o.shape)
        for o in load_family(write(text=bare)).sample(np.random.default_rng(0), "objects").scene.objects
    }
    assert pairs <= HELD_OUT_PAIRS


@pytest.mark.parametrize(
    "change",
    [
        ('not: ["beside(target, reference, way)"]', 'not: ["closed(drawer)"]'),
        ('hold: ["closed(drawer)"]', 'hold: ["open(drawer)"]'),
        ("goal: beside(target, reference, way) and closed(drawer)", "goal: closed(drawer)"),
    ],
    ids=["what must not hold holds", "what must hold does not", "the goal is reached"],
)
def test_conditions_that_leave_no_scene_are_an_error(write, change, monkeypatch):
    monkeypatch.setattr("sim.tasks.task.ATTEMPTS", 5)
    with pytest.raises(TaskError, match="no scene was found in 5 attempts") as caught:
        load_family(write(change, ("drawer_open: [0.0, 0.5]", "drawer_open: [0.0, 0.05]"))).sample(
            np.random.default_rng(0)
        )
    assert caught.value.found == "split seen"


def test_one_condition_that_holds_at_the_start_is_enough_to_draw_again(write, monkeypatch):
    monkeypatch.setattr("sim.tasks.task.ATTEMPTS", 5)
    both = ('not: ["beside(target, reference, way)"]', 'not: ["open(drawer)", "closed(drawer)"]')
    with pytest.raises(TaskError, match="no scene was found"):
        load_family(write(both, ("drawer_open: [0.0, 0.5]", "drawer_open: [0.0, 0.05]"))).sample(
            np.random.default_rng(0)
        )


def test_four_hundred_scenes_are_tried(write):
    with pytest.raises(TaskError, match="no scene was found in 400 attempts"):
        load_family(write(text=SHORT + "start: {hold: ['open(drawer)']}\n")).sample(np.random.default_rng(0))


def test_a_layout_without_room_is_drawn_again(write):
    crowded = load_family(
        write(("{count: [0, 2]}", "{count: [3, 3]}"), ("drawer_open: [0.0, 0.5]", "drawer_open: [0.0, 0.05]"))
    )
    failed = 0
    for seed in range(20):
        try:
            lay_out(crowded.spec, np.random.default_rng(seed), "seen")
        except Exception:
            failed += 1
        assert len(crowded.sample(np.random.default_rng(seed)).scene.objects) == 5
    assert failed > 0


def scene_of(
    *objects: tuple[str, str, str, tuple[float, float]], drawer: float = 0.0, zones=("red",), buttons=("red",)
) -> Scene:
    return Scene(
        tuple(Object(n, s, c, xy) for n, s, c, xy in objects),
        tuple(Button(c, (0.7, 0.0)) for c in buttons),
        tuple(Zone(c, (0.33, 0.0)) for c in zones),
        drawer_open=drawer,
    )


def test_every_assignment_of_the_slots_in_a_scene(family):
    scene = scene_of(
        ("a", "cube", "blue", (0.5, 0.0)),
        ("b", "ball", "green", (0.5, 0.1)),
        ("c", "mug", "blue", (0.6, 0.0)),
        drawer=0.05,
    )
    found = [(b.names["target"], b.names["reference"], b.words["way"]) for b in family.bindings_in(scene)]
    assert found == [
        ("a", "c", "left of"),
        ("b", "a", "left of"),
        ("b", "c", "left of"),
        ("a", "b", "right of"),
        ("a", "c", "right of"),
    ], "not those that hold: a is left of b, b right of a and of c; the mug is no target"
    mug_first = Scene(scene.objects[::-1], scene.buttons, scene.zones, drawer_open=0.05)
    turned = [(b.names["target"], b.names["reference"], b.words["way"]) for b in family.bindings_in(mug_first)]
    assert sorted(turned) == sorted(found)
    first = next(family.bindings_in(scene))
    assert first.words == {"way": "left of", "target": "blue cube", "reference": "blue mug"}
    assert first.goal == (Predicate("beside", ("a", "c", "left of")), Predicate("closed", ("drawer",)))
    assert first.names == {"way": "left of", "target": "a", "reference": "c"}


@pytest.mark.parametrize(("drawer", "any_"), [(0.0, True), (0.05, True), (0.0501, False), (1.0, False)])
def test_a_drawer_out_of_the_files_range_leaves_no_assignment(family, drawer, any_):
    scene = scene_of(("a", "cube", "blue", (0.5, 0.0)), ("b", "ball", "red", (0.5, -0.1)), drawer=drawer)
    assert bool(list(family.bindings_in(scene))) is any_


def test_a_drawer_below_the_files_range_leaves_no_assignment(write):
    half = load_family(write(("drawer_open: [0.0, 0.5]", "drawer_open: [0.25, 0.5]")))
    for drawer, any_ in ((0.25, True), (0.2499, False), (0.5, True)):
        scene = scene_of(("a", "cube", "blue", (0.5, 0.0)), ("b", "ball", "red", (0.5, -0.1)), drawer=drawer)
        assert bool(list(half.bindings_in(scene))) is any_


def test_choices_take_the_colours_that_the_scene_has():
    press, push = load_suite("tabletop")["press_button"], load_suite("tabletop")["push_to_zone"]
    scene = scene_of(("a", "cube", "blue", (0.5, 0.1)), zones=("red", "blue"), buttons=("green", "red", "green"))
    assert [b.words["colour"] for b in press.bindings_in(scene)] == ["green", "red"]
    assert [b.words["zone"] for b in push.bindings_in(scene)] == ["red", "blue"]


def instance(family: TaskFamily, scene: Scene, number: int = 0, seed: int = 0) -> TaskInstance:
    binding = list(family.bindings_in(scene))[number]
    return family.instance(scene, binding, np.random.default_rng(seed))


def test_other_instructions_are_other_goals_of_the_scene(family):
    scene = scene_of(
        ("a", "cube", "blue", (0.5, 0.0)), ("b", "ball", "green", (0.5, 0.1)), ("c", "mug", "blue", (0.6, 0.0))
    )
    task = instance(family, scene)
    others = task.other_instructions
    assert len(others) == len(set(others)) == 4 and task.instruction not in others
    assert others == instance(family, scene).other_instructions
    assert {instance(family, scene, seed=s).other_instructions for s in range(6)} != {others}, "the order is the seed's"
    every = [w.format(**b.words) for b in list(family.bindings_in(scene))[1:] for w in family.wordings.train]
    assert set(others) <= set(every)
    many = scene_of(
        *(
            (n, "cube", c, (0.4 + 0.05 * k, 0.0))
            for k, (n, c) in enumerate(zip("abcd", ("blue", "green", "blue", "green"), strict=True))
        )
    )
    assert len(instance(family, many).other_instructions) == MAX_OTHER_INSTRUCTIONS == 8


def test_foreign_instructions_are_one_of_each_other_family_that_fits():
    families = load_suite("tabletop")
    scene = families["put_in_tray"].episode(3).scene
    task = families["put_in_tray"].episode(3)
    fitting = [
        n
        for n, f in families.items()
        if n != "put_in_tray" and any(set(b.goal) != set(task.goal) for b in f.bindings_in(scene))
    ]
    assert len(task.foreign_instructions) == len(fitting) >= 5
    own = {
        families["put_in_tray"].instruct(b, np.random.default_rng(s))
        for b in families["put_in_tray"].bindings_in(scene)
        for s in range(40)
    }
    assert not own & set(task.foreign_instructions)
    for name, text in zip(fitting, task.foreign_instructions, strict=True):
        written = {
            w.format(**b.words) for b in families[name].bindings_in(scene) for w in families[name].wordings.train
        }
        assert text in written


def test_instructions_of_a_scene_are_drawn_from_the_tasks_seed():
    """Repeatable: the same episode gives the same instructions for ever."""
    task = load_suite("tabletop")["put_in_tray"].episode(2)
    assert task.other_instructions[:2] == ("put the orange ball in the tray", "drop the black star in the tray")
    assert task.foreign_instructions[:3] == (
        "the drawer stands closed, pull it open",
        "the green pear goes left of the black star",
        "press the button that is white",
    )


def test_success_is_the_whole_goal(family):
    scene = scene_of(("target", "cube", "blue", (0.5, 0.0)), ("reference", "mug", "red", (0.5, 0.2)))
    task = instance(family, scene)

    def at(y: float, drawer: float) -> bool:
        moved = scene_of(("target", "cube", "blue", (0.5, y)), ("reference", "mug", "red", (0.5, 0.2)), drawer=drawer)
        return task.success(SceneView(moved))

    assert task.goal[0] == Predicate("beside", ("target", "reference", "left of"))
    assert at(0.1, 0.0) and not at(0.1, 0.5) and not at(0.3, 0.0)


def test_what_goal_and_expert_name_must_be_in_the_scene():
    scene = scene_of(("a", "cube", "blue", (0.5, 0.0)), zones=("red",), buttons=("green",))

    def fits(goal=(), skills=()) -> bool:
        return _scene_has_all(
            TaskInstance("f", scene, "", {}, tuple(goal), tuple(skills), 1, "seen", definition=None, seed=0)
        )

    assert fits()
    for colour, there in (("red", True), ("blue", False)):
        assert fits([Predicate("at", ("a", colour))]) is there
        assert fits([Predicate("in", ("a", "tray"))], [Skill("push", {"object": "a", "to": colour})]) is there
    for colour, there in (("green", True), ("red", False)):
        assert (
            fits([Predicate("pressed", (colour,))]) is there
            and fits(skills=[Skill("press", {"colour": colour})]) is there
        )
    for colour, there in (("blue", True), ("red", False)):
        assert fits(skills=[Skill("gather", {"colour": colour, "into": "tray"})]) is there


# Suites


def test_suites_and_selections(write):
    assert set(SUITES) == {"tabletop", "new"} and load_suite("new") is load_suite("new")
    assert list(select(None)) == list(load_suite("tabletop")) and list(select("", "new")) == list(load_suite("new"))
    assert list(select(" lift , stack")) == ["lift", "stack"] and list(select(["stack"])) == ["stack"]
    file = write(("name: mine", "name: stack"))
    chosen = select(f"{file},lift")
    assert list(chosen) == ["stack", "lift"] and chosen["stack"].file == file
    assert select("stack")["stack"] is load_suite("tabletop")["stack"]
    other = file.rename(file.with_suffix(".yml"))
    assert select(str(other))["stack"].file == other
    with pytest.raises(TaskError, match="no such task"):
        select("stak")
    with pytest.raises(TaskError, match="no such suite"):
        load_suite("table")
