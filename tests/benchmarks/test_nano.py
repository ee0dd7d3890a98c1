"""The measures of understanding can fail: each rule on its own, and one short setting of what they share."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.nano import instructed, nano_answers, nano_languages, nano_refuses
from benchmarks.nano.changes import CHANGES, REFUSED, free_wordings
from benchmarks.nano.instructed import Case, Played, Setting, play_all
from sim.tasks.predicates import DIRECTIONS, in_direction
from sim.tasks.refusals import FILE, KINDS, SPLITS, sample_labelled
from sim.tasks.task import describe, load_suite

FAMILIES = load_suite("tabletop")


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_free_wordings_name_what_the_task_names(family):
    task = FAMILIES[family].episode(3)
    found = {CHANGES["free"](task, number, rng()).instruction for number in range(6)}
    assert len(found) == len(free_wordings()[family]) >= 2
    names = {v for k, v in task.bindings.items() if k in ("target", "second") or family != "place_beside"}
    assert all(all(name in text for name in names if " " in name) for text in found)


def test_free_wordings_and_held_out_instructions_are_not_those_of_training():
    trained = {w for family in FAMILIES.values() for w in family.wordings.train}
    assert not trained & {w for family in FAMILIES for w in free_wordings()[family]}
    from ruamel.yaml import YAML

    for kind in YAML(typ="safe").load(FILE.read_text()).values():
        for wordings in kind.values():
            assert set(wordings) == set(SPLITS) and not set(wordings["train"]) & set(wordings["held_out"])


def test_synonyms_leave_no_word_that_has_one():
    task = FAMILIES["put_in_tray"].episode(1)
    changed = CHANGES["synonyms"](task, 0, rng()).instruction
    assert changed != task.instruction
    assert not set(changed.split()) & set(free_wordings()["synonyms"])


@pytest.mark.parametrize("file", [FILE, REFUSED], ids=["own", "measured"])
@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_reasons_of_instructions_are_true(kind, file):
    found = 0
    for seed in range(12):
        for family in ("put_in_tray", "stack", "press_button"):
            task = FAMILIES[family].episode(seed)
            label = sample_labelled(task, kind, rng(seed), "held_out", file)
            if label is None:
                continue
            found += 1
            assert label.kind == kind and label.possible == (kind == "possible") == (label.reason == "")
            objects = {describe(o): o for o in task.scene.objects}
            words = label.reason.removesuffix(" zone").removesuffix(" button").split()
            if kind == "absent":
                assert " ".join(words[-2:]) in label.instruction and " ".join(words[-2:]) not in objects
            if kind == "contradicting" and label.reason.endswith((" button", " zone")):
                fixtures = task.scene.buttons if label.reason.endswith("button") else task.scene.zones
                assert words[-1] not in {f.colour for f in fixtures}
            if kind == "possible":
                named = {n for n in objects if n in label.instruction}
                words, second = next((d, n) for d in DIRECTIONS for n in named if f"{d} the {n}" in label.instruction)
                a, b = objects[(named - {second}).pop()], objects[second]
                assert in_direction(a.xy[0] - b.xy[0], a.xy[1] - b.xy[1], words)
    assert found >= 5


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_of_a_seed_is_always_the_same(name):
    task = FAMILIES["put_in_tray"].episode(4)
    first, second = (CHANGES[name](task, 1, rng(9)) for _ in range(2))
    assert first is not None and first.instruction == second.instruction and first.detail == second.detail


def played(**changes):
    values = {"case": Case("stack", 1), "instruction": "", "success": False, "refused": True, "reason": "I see no mug"}
    return Played(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"refused": False}, False),
        ({"reason": ""}, False),
        ({"moved": 0.0199}, True),
        ({"moved": 0.02}, False),
    ],
    ids=str,
)
def test_a_refusal_is_still_explained_and_untouched(changes, right):
    assert nano_refuses.refuses(played(**changes)) == right


def test_the_calibration_error_is_that_of_its_bins():
    honest = [(0.25, k < 1) for k in range(4)] + [(0.75, k < 3) for k in range(4)]
    assert nano_refuses.calibration_error(honest) == pytest.approx(0.0)
    assert nano_refuses.calibration_error([(0.9, False)] * 5 + [(1.0, False)] * 5) == pytest.approx(0.95)
    assert nano_refuses.calibration_error([(None, True)]) is None


def test_boxes_overlap_by_their_common_area():
    assert nano_answers.overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert nano_answers.overlap((0, 0, 1, 1), (0, 0.5, 1, 1.5)) == pytest.approx(1 / 3)
    assert nano_answers.overlap((0, 0, 0.4, 1), (0.5, 0, 1, 1)) == 0


def test_a_caption_is_right_where_its_relation_is_so():
    item = SimpleNamespace(kind="caption", answer="a red mug is left of a blue cube")
    relations = {("red mug", "left of", "blue cube"), ("green cup", "in front of", "red mug")}
    assert nano_answers.is_right(item, "a green cup is in front of a red mug", relations)
    assert not nano_answers.is_right(item, "a red mug is in front of a green cup", relations)
    listed = SimpleNamespace(kind="caption", answer="red mug, blue cube")
    assert nano_answers.is_right(listed, "red mug, blue cube", relations)
    assert not nano_answers.is_right(listed, "a red mug is left of a blue cube", relations)
    assert not nano_answers.is_right(SimpleNamespace(kind="count", answer="two"), "three", relations)


def test_the_ratios_interval_holds_the_ratio():
    low, high = nano_languages._ratio_interval((45, 100), (90, 100))
    assert low < 0.5 < high and high - low < 0.25


def test_an_absent_object_is_refused_with_the_reason_and_a_present_one_is_not():
    setting = Setting(episodes=1, seed=6_000_000, workers=1)
    try:
        cases = [Case("put_in_tray", setting.seed, change, steps=8) for change in ("absent", "")]
        absent, present = play_all(cases, setting)
    finally:
        instructed.close()
    name = absent.detail.split(" in place of ")[0]
    assert name in absent.instruction and absent.refused and absent.reason.startswith(f"I see no {name}")
    assert not present.refused and not present.reason and not present.success
