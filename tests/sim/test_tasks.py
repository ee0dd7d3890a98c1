"""Task files, their errors, and the scenes sampled from them."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations, product
from math import hypot

import numpy as np
import pytest

from sim.tasks.predicates import (
    BESIDE_SPOT,
    CLOSED,
    CONTAINERS,
    DIRECTIONS,
    OPEN,
    SIGNATURES,
    Predicate,
    SceneView,
    ground,
    holds,
    parse,
)
from sim.tasks.scene_layout import LANE_WIDTH, REACH_MARGIN, _distance, _lane
from sim.tasks.suggestions import SYNONYMS, suggest
from sim.tasks.task import HELD_OUT_PAIRS, SUITES, load_family, load_suite, select
from sim.tasks.task_file import SKILLS, FamilySpec, ObjectSpec, StartSpec, WordingSpec
from sim.world.scene import COLOURS, MIN_GAP, OBJECT_REGION, SHAPES, Object, Scene, Zone
from vla_agent.cli import main
from vla_agent.errors import TaskError

SEEDS = 300
FAMILIES = load_suite("tabletop") | load_suite("new")


def bare(wording: str) -> set[str]:
    """The words of a wording, slots and commas left out."""
    return set(re.sub(r"\{\w+\}|,", " ", wording).split())


def pairs(scene: Scene) -> list[tuple[str, str]]:
    return [(o.colour, o.shape) for o in scene.objects]


def test_the_suite_has_its_ten_families():
    assert set(load_suite("tabletop")) == {
        "put_in_tray",
        "place_beside",
        "stack",
        "push_to_zone",
        "open_drawer",
        "close_drawer",
        "put_in_drawer",
        "press_button",
        "put_two_in_tray",
        "put_colour_in_tray",
    }
    assert all(family.file.stem == name for name, family in FAMILIES.items())


def test_names_are_found_in_every_suite_and_none_means_those_of_one():
    assert set(select(None, "new")) == {"lift", "put_on_cabinet"}
    assert list(select("lift,stack")) == ["lift", "stack"] and "lift" not in select(None)
    assert select("lift")["lift"] is load_suite("new")["lift"]


@pytest.mark.parametrize("name", FAMILIES)
def test_wordings(name):
    """Enough of them; held-out ones are new sentences of known words, and name the same slots."""
    train, held_out = FAMILIES[name].wordings.train, FAMILIES[name].wordings.held_out
    assert len(set(train)) >= 8 and len(set(held_out)) >= 4 and len(set(train) | set(held_out)) >= 12
    everywhere = {w for f in FAMILIES.values() for w in f.wordings.train}
    assert not everywhere & set(held_out)
    known = set().union(*(bare(w) for w in everywhere))
    assert set().union(*(bare(w) for w in held_out)) <= known
    assert len({frozenset(re.findall(r"\{(\w+)\}", w)) for w in (*train, *held_out)}) == 1


def test_held_out_pairs_leave_every_word_in_training():
    assert len(HELD_OUT_PAIRS) == 10
    assert set(product(COLOURS, SHAPES)) >= HELD_OUT_PAIRS
    assert max(Counter(c for c, _ in HELD_OUT_PAIRS).values()) <= 2
    assert max(Counter(s for _, s in HELD_OUT_PAIRS).values()) <= 2


@pytest.mark.parametrize("name", FAMILIES)
def test_sampled_scenes_are_valid(name):
    """Three hundred seeds: nothing overlaps, all in reach, the goal is yet to be reached and has room."""
    family = FAMILIES[name]
    for seed in range(SEEDS):
        split = ("seen", "wordings", "objects")[seed % 3]
        task = family.sample(np.random.default_rng(seed), split)
        scene = task.scene
        assert 3 <= len(scene.objects) <= 5
        assert len(set(pairs(scene))) == len(scene.objects) == len({o.name for o in scene.objects})
        for o in scene.objects:
            assert all(low <= v <= high for v, (low, high) in zip(o.xy, OBJECT_REGION, strict=True))
        for a, b in combinations(scene.objects, 2):
            assert hypot(a.xy[0] - b.xy[0], a.xy[1] - b.xy[1]) >= MIN_GAP
        assert len({b.colour for b in scene.buttons}) == 3 and len({z.colour for z in scene.zones}) == 2
        assert 0.0 <= scene.drawer_open <= 1.0
        assert not task.success(SceneView(scene))
        objects = {o.name: o for o in scene.objects}
        if name == "place_beside":
            reference, unit = objects["reference"].xy, DIRECTIONS[task.bindings["direction"]]
            spot = [r + BESIDE_SPOT * u for r, u in zip(reference, unit, strict=True)]
            assert all(
                low - REACH_MARGIN <= v <= high + REACH_MARGIN
                for v, (low, high) in zip(spot, OBJECT_REGION, strict=True)
            )
            assert all(
                hypot(o.xy[0] - spot[0], o.xy[1] - spot[1]) >= MIN_GAP for o in scene.objects if o.name != "reference"
            )
        if name == "push_to_zone":
            zone = next(z for z in scene.zones if z.colour == task.bindings["zone"])
            lane = _lane(objects["target"].xy, zone.xy)
            assert all(_distance(o.xy, *lane) >= LANE_WIDTH for o in scene.objects if o.name != "target")
        if name == "open_drawer":
            assert scene.drawer_open <= CLOSED
        if name in ("close_drawer", "put_in_drawer"):
            assert scene.drawer_open >= OPEN
        if name == "put_colour_in_tray":
            colour = task.bindings["colour"]
            assert [o.name for o in scene.objects if o.colour == colour] == ["target", "second"]


@pytest.mark.parametrize("name", FAMILIES)
def test_splits(name):
    """Training never shows a held-out pair; `objects` puts one where it counts; wordings keep apart."""
    family = FAMILIES[name]
    filled = {
        which: [re.sub(r"\\\{\w+\\\}", "[a-z ]+", re.escape(w)) for w in getattr(family.wordings, which)]
        for which in ("train", "held_out")
    }
    for seed in range(60):
        for split, which in (("seen", "train"), ("wordings", "held_out"), ("objects", "train")):
            task = family.sample(np.random.default_rng(seed), split)
            assert any(re.fullmatch(w, task.instruction) for w in filled[which])
            found = set(pairs(task.scene)) & HELD_OUT_PAIRS
            if split != "objects":
                assert not found
            elif family.spec.objects:
                assert found == {pairs(task.scene)[0]}
            else:
                assert found == set(pairs(task.scene))


def test_same_seed_same_task():
    for family in FAMILIES.values():
        a, b = (family.sample(np.random.default_rng(7)) for _ in range(2))
        assert (
            a == b and a.other_instructions == b.other_instructions and a.foreign_instructions == b.foreign_instructions
        )
        assert a.scene != family.sample(np.random.default_rng(8)).scene


def test_both_words_of_a_name_matter():
    """In about half of the scenes, one distractor shares the target's colour and another its shape."""
    both = 0
    for seed in range(SEEDS):
        (colour, shape), *others = pairs(FAMILIES["put_in_tray"].sample(np.random.default_rng(seed)).scene)
        both += any(c == colour for c, _ in others) and any(s == shape for _, s in others)
    assert 0.4 < both / SEEDS < 0.8


@pytest.mark.parametrize("name", FAMILIES)
def test_other_instructions_ask_for_something_else(name):
    family = FAMILIES[name]
    with_others = 0
    for seed in range(60):
        task = family.sample(np.random.default_rng(seed))
        assert task.instruction not in task.other_instructions
        assert len(set(task.foreign_instructions)) >= 3
        with_others += bool(task.other_instructions)
    if name in ("open_drawer", "close_drawer"):
        assert with_others == 0
    elif name not in ("stack", "put_on_cabinet"):
        assert with_others == 60
    else:  # some shapes cannot be what they move
        assert with_others >= 30


def test_foreign_instructions_fit_the_scene():
    """An open drawer is not asked to be opened; objects named are there."""
    for seed in range(60):
        task = FAMILIES["put_in_drawer"].sample(np.random.default_rng(seed))
        names = {f"{o.colour} {o.shape}" for o in task.scene.objects}
        openers = set(FAMILIES["open_drawer"].wordings.train)
        assert not openers & set(task.foreign_instructions)
        for text in task.foreign_instructions:
            for colour, shape in re.findall(f"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", text):
                assert f"{colour} {shape}" in names


def test_skills_and_goal_are_grounded():
    task = FAMILIES["push_to_zone"].sample(np.random.default_rng(0))
    zone = task.bindings["zone"]
    assert task.goal == (Predicate("at", ("target", zone)),)
    assert [(s.name, s.args) for s in task.skills] == [("push", {"object": "target", "to": zone})]
    task = FAMILIES["put_colour_in_tray"].sample(np.random.default_rng(0))
    assert task.goal == (Predicate("in", ("target", "tray")), Predicate("in", ("second", "tray")))
    assert task.object_names == ("target", "second")


def scene_of(*objects: Object, **kwargs) -> Scene:
    return Scene(tuple(objects), (), (Zone("red", (0.6, 0.0)), Zone("blue", (0.6, 0.1))), **kwargs)


@pytest.mark.parametrize(
    ("text", "true", "false"),
    [
        ("left_of(a, b)", (0.52, -0.10), (0.50, 0.10)),
        ("right_of(a, b)", (0.45, 0.10), (0.50, -0.10)),
        ("in_front_of(a, b)", (0.60, 0.05), (0.40, 0.0)),
        ("left_of(a, b)", (0.50, -0.16), (0.50, -0.18)),
        ("left_of(a, b)", (0.50, -0.05), (0.50, -0.03)),
        ("left_of(a, b)", (0.55, -0.06), (0.56, -0.05)),
        ("at(a, red)", (0.64, -0.04), (0.65, 0.0)),
        ("in(a, tray)", (0.50, 0.25), (0.50, 0.14)),
    ],
)
def test_predicates_on_the_table(text, true, false):
    predicates = parse(text, {"a": 0, "b": 0}, {}, file="", key="")
    for xy, expected in ((true, True), (false, False)):
        scene = scene_of(Object("a", "cube", "red", xy), Object("b", "cube", "blue", (0.5, 0.0)))
        assert holds(ground(predicates, scene, {}, {})[0], SceneView(scene)) is expected


def test_drawer_predicates():
    for opening, is_open, is_closed in ((0.05, False, True), (0.5, False, False), (0.9, True, False)):
        view = SceneView(scene_of(drawer_open=opening))
        assert holds(Predicate("open", ("drawer",)), view) is is_open
        assert holds(Predicate("closed", ("drawer",)), view) is is_closed


TEXT = (SUITES["tabletop"] / "place_beside.yaml").read_text(encoding="utf-8")


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize(
    ("old", "new", "key", "names", "remedy"),
    [
        ("time_limit: 240", "time_limits: 240", "time_limits", ["time_limit", "goal"], "'time_limit'"),
        ("time_limit: 240", "time_limit: soon", "time_limit", ["integer"], "docs/tasks.md"),
        (
            "beside(target, reference, direction)\ntime",
            "besides(target, reference, direction)\ntime",
            "goal",
            ["beside", "in"],
            "'beside'",
        ),
        (
            "beside(target, reference, direction)\ntime",
            "beside(target, reference)\ntime",
            "goal",
            ["beside(role, role, direction)"],
            "3 arguments",
        ),
        (
            "beside(target, reference, direction)\ntime",
            "beside(target, referense, direction)\ntime",
            "goal",
            ["reference"],
            "'reference'",
        ),
        ("beside(target, reference, direction)\ntime", "__import__('os')\ntime", "goal", ["in"], "names listed"),
        (
            "target: {shapes: all, colours: all}",
            "target: {shapes: [cub], colours: all}",
            "objects.target.shapes",
            ["cube", "pear"],
            "'cube'",
        ),
        ("target: {shapes: all, colours: all}", "target: {shape: all}", "objects.target.shape", ["shapes"], "'shapes'"),
        (
            "reference: {shapes: all, colours: all}",
            "reference: {colours: [rod]}",
            "objects.reference.colours",
            ["red"],
            "'red'",
        ),
        ("count: [1, 3]", "count: [3, 1]", "distractors.count", ["low <= high"], "two numbers"),
        ("count: [1, 3]", "count: [1, 5]", "distractors.count", ["at most 3"], "lower"),
        ("lay the {target}", "lay the {object}", "wordings.train.8", ["target", "reference", "direction"], "listed"),
        ("  - pick: target", "  - pik: target", "expert.0", ["pick", "gather"], "'pick'"),
        ("  - pick: target", "  - pick: taget", "expert.0.pick.object", ["target"], "'target'"),
        (
            "- place: {beside: reference, direction: direction}",
            "- place: {beside: reference}",
            "expert.1.place",
            ["direction"],
            "containers",
        ),
        ("drawer_open: any", "drawer_open: [0.0, 1.5]", "start.drawer_open", ["1.0"], "two numbers"),
        ("direction: [left of,", "direction: [behind,", "choose.direction", ["left of", "in front of"], "listed"),
        (
            "{beside: reference, direction: direction}\nwordings",
            "{beside: reference}\nwordings",
            "start.free.0",
            ["lane"],
            "containers",
        ),
    ],
)
def test_a_broken_file_is_explained(tmp_path, old, new, key, names, remedy):
    """The error names file, line, key, the valid names and the way out."""
    assert TEXT.count(old) == 1
    text = TEXT.replace(old, new)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_family(path)
    error = caught.value
    assert error.file == f"{path}:{line_of(text, new.splitlines()[0])}"
    assert error.key == key
    assert all(name in error.expected for name in names)
    assert remedy in error.remedy and error.found


@pytest.mark.parametrize("text", ["name: [", "name: a\nname: b\n", "- a\n- b\n", "", "just words", "a: {b: c\nd: e\n"])
def test_what_is_no_task_file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_family(path)
    assert caught.value.file.startswith(f"{path}:") and caught.value.remedy


def test_a_missing_key_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace("goal: beside(target, reference, direction)\n", ""), encoding="utf-8")
    with pytest.raises(TaskError, match="goal"):
        load_family(path)


def test_unknown_names_list_the_valid_ones(tmp_path):
    for call, word, expected in (
        (lambda: load_suite("tabeltop"), "tabletop", "tabletop"),
        (lambda: select("put_in_trey"), "put_in_tray", "press_button"),
        (lambda: FAMILIES["stack"].sample(np.random.default_rng(0), "sen"), "seen", "wordings"),
    ):
        with pytest.raises(TaskError) as caught:
            call()
        assert word in caught.value.remedy and expected in caught.value.expected
    with pytest.raises(TaskError, match="cannot be read"):
        load_family(tmp_path / "nowhere.yaml")


def test_a_user_adds_a_task_by_writing_a_file(tmp_path):
    path = tmp_path / "tidy_mug.yaml"
    path.write_text(
        "name: tidy_mug\n"
        "description: The mug goes in the tray, the drawer is shut.\n"
        "objects:\n  target: {shapes: [mug], colours: [red, yellow]}\n"
        "distractors: {count: [2, 3]}\n"
        "start: {drawer_open: [0.9, 1.0]}\n"
        "wordings:\n  train: ['put the {target} in the tray and close the drawer']\n"
        "goal: in(target, tray) and closed(drawer)\n"
        "time_limit: 400\n"
        "expert: [{pick: target}, {place: {in: tray}}, push_drawer]\n",
        encoding="utf-8",
    )
    family = select(["stack", str(path)])["tidy_mug"]
    task = family.sample(np.random.default_rng(0))
    assert task.instruction in (f"put the {c} mug in the tray and close the drawer" for c in ("red", "yellow"))
    assert [s.name for s in task.skills] == ["pick", "place", "push_drawer"]
    with pytest.raises(TaskError, match="held-out wordings"):
        family.sample(np.random.default_rng(0), "wordings")


@pytest.mark.parametrize(
    ("word", "names", "expected"),
    [
        ("inside", SIGNATURES, "in"),
        ("next_to", SIGNATURES, "beside"),
        ("next to", SIGNATURES, "beside"),
        ("on top of", SIGNATURES, "on"),
        ("left", SIGNATURES, "left_of"),
        ("left", DIRECTIONS, "left of"),
        ("grasp", SKILLS, "pick"),
        ("open_drawer", SKILLS, "pull_drawer"),
        ("sphere", SHAPES, "ball"),
        ("Red", COLOURS, "red"),
        ("pruple", COLOURS, "purple"),
        ("max_steps", FamilySpec.model_fields, "time_limit"),
    ],
)
def test_suggestions_know_synonyms_and_misspellings(word, names, expected):
    assert suggest(word, names) == f"did you mean '{expected}'?"


def test_suggestions_are_valid_names_and_nothing_is_made_up():
    keys = {key for model in (FamilySpec, ObjectSpec, StartSpec, WordingSpec) for key in model.model_fields}
    arguments = {name for forms in SKILLS.values() for form in forms for name in form}
    names = {*SIGNATURES, *SKILLS, *DIRECTIONS, *SHAPES, *COLOURS, *CONTAINERS, "cabinet", *keys, *arguments}
    assert {name for found in SYNONYMS.values() for name in found} <= names
    assert suggest("xyzzy", COLOURS) == "use one of the names listed"
    assert suggest("inside", COLOURS) == "use one of the names listed"


PLAIN = """\
name: mine
description: One object goes somewhere.
objects: {target: {shapes: [cube], colours: [blue]}}
wordings: {train: ["move the {target}"]}
goal: GOAL
time_limit: 240
expert: EXPERT
"""


def plain_file(tmp_path, goal, expert):
    path = tmp_path / "mine.yaml"
    path.write_text(PLAIN.replace("GOAL", goal).replace("EXPERT", expert), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("expert", "key", "remedy"),
    [
        ("[{pick: target}]", "expert.0", "lift"),
        ("[{pick: target}, push_drawer, {place: {in: tray}}]", "expert.0", "place"),
        ("[{place: {in: tray}}]", "expert.0", "add the pick"),
        ("[{pick: target}, {place: {inside: tray}}]", "expert.1.place", "'in'"),
        ("[{pick: target}, {place: {next_to: target, direction: left of}}]", "expert.1.place", "'beside'"),
    ],
)
def test_an_expert_that_cannot_be_compiled_is_explained(tmp_path, expert, key, remedy):
    with pytest.raises(TaskError) as caught:
        load_family(plain_file(tmp_path, "in(target, tray)", expert))
    assert caught.value.key == key and remedy in caught.value.remedy and f"{tmp_path}" in caught.value.file


def test_a_colour_that_the_file_names_itself_is_in_every_scene(tmp_path):
    """Zones and buttons draw their colours; a goal that needs one is laid out where the scene has it."""
    family = load_family(plain_file(tmp_path, "at(target, red)", "[{push: {object: target, to: red}}]"))
    assert all("red" in [z.colour for z in family.episode(seed).scene.zones] for seed in range(20))
    family = load_family(plain_file(tmp_path, "pressed(green)", "[{press: green}]"))
    assert all("green" in [b.colour for b in family.episode(seed).scene.buttons] for seed in range(20))


def test_the_goal_never_holds_at_the_start(tmp_path):
    family = load_family(plain_file(tmp_path, "closed(drawer)", "[push_drawer]"))
    assert all(family.episode(seed).scene.drawer_open > CLOSED for seed in range(30))
    family = load_family(plain_file(tmp_path, "all_in(blue, tray)", "[{gather: {colour: blue, into: tray}}]"))
    assert all(family.episode(seed).goal for seed in range(30))


def test_conditions_without_room_are_an_error(tmp_path):
    path = tmp_path / "mine.yaml"
    crowded = "{count: [4, 4]}\nobjects: {target: {x: [0.5, 0.5], y: [0, 0]}}\nchoose: {direction: [left of]}"
    text = (SUITES["tabletop"] / "open_drawer.yaml").read_text(encoding="utf-8")
    text = text.replace("{count: [3, 5]}", crowded).replace('["open(drawer)"]', '["closed(drawer)"]')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaskError, match="no scene was found"):
        load_family(path).sample(np.random.default_rng(0))


def test_the_documents_example_is_true(tmp_path):
    """The file in docs/tasks.md loads, and the errors that it shows are those that come."""
    text = (SUITES["tabletop"].parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.S)[1]
    path = tmp_path / "my_task.yaml"
    path.write_text(example, encoding="utf-8")
    for split in ("seen", "wordings"):
        assert load_family(path).sample(np.random.default_rng(0), split).scene.drawer_open >= 0.9
    with pytest.raises(TaskError, match="green mug"):
        load_family(path).sample(np.random.default_rng(0), "objects")
    path.write_text(example.replace("goal: in(", "goal: inn("), encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        load_family(path)
    shown = re.search(r"```\nerror: (.*?)```", text, re.S)[1].strip()
    assert str(caught.value).replace(f"{tmp_path}/", "") == shown
    for name in (*COLOURS, *SHAPES):
        assert name in text


def test_command_lists_shows_and_checks(tmp_path, capsys):
    def run(*arguments: str) -> str:
        assert main(["tasks", *arguments]) == 0
        return capsys.readouterr().out

    assert all(name in run() for name in load_suite("tabletop"))
    assert "put_on_cabinet" in run("--suite", "new")
    shown = run("press_button")
    assert all(w in shown for w in FAMILIES["press_button"].wordings.train) and "pressed(colour)" in shown
    assert "outside the suites" in run() and "suite:      new" in run("lift")
    checked = run("--check", str(FAMILIES["stack"].file))
    assert "valid task file" in checked and "5 of 5 seeds (0 to 4)" in checked
    (tmp_path / "mine.yaml").write_text(TEXT.replace("goal:", "gaol:"), encoding="utf-8")
    assert main(["tasks", "--check", str(tmp_path / "mine.yaml")]) == 2
    assert f"mine.yaml:{line_of(TEXT, 'goal:')}" in capsys.readouterr().err
    assert main(["tasks", "stak"]) == 2 and "'stack'" in capsys.readouterr().err
    assert main(["tasks", "--picture", str(tmp_path / "a.jpg")]) == 2 and not list(tmp_path.glob("*.jpg"))


def test_check_says_where_the_expert_does_not_reach_the_goal(tmp_path, capsys):
    path = plain_file(tmp_path, "in(target, tray)", "[{pick: target}, {place: {on: cabinet}}]")
    path.write_text(path.read_text(encoding="utf-8").replace("240", "90"), encoding="utf-8")
    assert main(["tasks", "--check", str(path), "--seed", "7"]) == 1
    shown = capsys.readouterr().out
    assert "0 of 5 seeds (7 to 11)" in shown and "valid task file" not in shown and shown.count("goal not reached") == 5


def test_command_draws_a_contact_sheet(tmp_path, capsys):
    assert main(["tasks", "stack", "--picture", str(tmp_path / "new" / "stack.png")]) == 0
    (file,) = (tmp_path / "new").iterdir()
    assert file.name == "stack.png" and file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 20_000


def test_families_draw_apart():
    scenes = [family.episode(5).scene for family in FAMILIES.values()]
    assert len({scene.tray_xy for scene in scenes}) == len(scenes)
    assert FAMILIES["stack"].episode(5) == FAMILIES["stack"].episode(5)
