"""Perturbations and counterfactuals: deterministic, visible, and gone after the next reset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.env import TabletopEnv
from sim.languages import languages, translations
from sim.perturbations import AXES, PROBES, find_effect
from sim.policies import ExpertPolicy
from sim.rollout import run_episode, state_hash
from sim.task import load_suite
from sim.variation import Variation, VariedEnv
from vla_agent.errors import OptionError

SEED = 500_003
LOOK = ("lighting", "camera", "background", "object_look", "distractors", "object_pose", "layout", "unseen_objects")


@pytest.fixture(scope="module")
def env():
    made = TabletopEnv("put_in_tray")
    yield made
    made.close()


def begun(env, variation):
    varied = VariedEnv(env, variation)
    task = varied.begin(SEED)
    return varied, task


@pytest.mark.parametrize("name", (*AXES, *PROBES))
def test_a_variation_is_deterministic_and_leaves_nothing_behind(env, name):
    action = np.array([0.01, 0.005, -0.01, 0, 0, 0.1, 1], np.float32)

    def plain():
        env.begin(SEED)
        first = env.world.render()
        for _ in range(5):
            env.world.step(action)
        return state_hash(env.world), {k: p.tobytes() for k, p in first.items()}

    def varied():
        _, task = begun(env, Variation(name, 2))
        first = env.world.render()
        for _ in range(5):
            env.world.step(action)
        return state_hash(env.world), {k: p.tobytes() for k, p in first.items()}, task.instruction

    before, one, two, after = plain(), varied(), varied(), plain()
    assert one == two
    assert before == after
    if name in (*LOOK, "removed", "blind"):
        assert one[1] != before[1]
    if name in ("physics", "actuation", "object_pose", "layout"):
        assert one[0] != before[0]


def test_a_higher_severity_moves_the_camera_farther_the_same_way(env):
    home = env.world.model.cam_pos.copy()
    shifts = []
    for severity in (1, 2, 3):
        begun(env, Variation("camera", severity))
        shifts.append(env.world.model.cam_pos[env.world.model.camera("front").id].copy())
    shifts = np.array(shifts) - home[env.world.model.camera("front").id]
    lengths = np.linalg.norm(shifts, axis=1)
    assert lengths[0] < lengths[1] < lengths[2]
    assert np.allclose(shifts / lengths[:, None], shifts[0] / lengths[0])


def test_words_change_without_the_scene():
    task = load_suite()["put_in_tray"].episode(SEED)
    for name in ("paraphrase", "typo", "language", "blank", "absent"):
        found = find_effect(Variation(name, 1), task, SEED)
        assert found is not None and found.task.scene == task.scene and found.told != task.instruction
    found = find_effect(Variation("swap"), task, SEED)
    assert found.task.scene == task.scene
    assert found.task.object_names != task.object_names and found.task.instruction != task.instruction


def test_every_family_is_asked_for_in_every_language():
    """Each wording says each slot; two tasks that differ in English differ in every language."""
    for name, family in load_suite().items():
        tasks = [family.episode(seed) for seed in range(SEED, SEED + 12)]
        for code in languages():
            said = [translations(task, code) for task in tasks]
            assert all(len(set(s)) == 2 and not {"{", "}"} & set("".join(s)) for s in said), (name, code)
            asked = {tuple(sorted(t.bindings.items())) for t in tasks}
            assert len({tuple(s) for s in said}) == len(asked), (name, code)


def test_objects_are_named_in_case_and_gender():
    task = load_suite()["place_beside"].episode(SEED)
    task = replace(task, bindings={"target": "red star", "direction": "in front of", "reference": "white mug"})
    assert translations(task, "de")[0] == "stelle den roten Stern vor dem weißen Becher ab"
    assert translations(task, "fr")[0] == "pose l'étoile rouge devant le mug blanc"
    assert translations(task, "es")[0] == "pon la estrella roja delante de la taza blanca"
    assert translations(replace(task, family="my_own"), "de") == []


def test_added_objects_keep_the_words_unambiguous():
    for name, family in load_suite().items():
        for seed in range(SEED, SEED + 3):
            task = family.episode(seed)
            found = find_effect(Variation("distractors", 3), task, seed)
            if found is None:
                continue
            objects = found.task.scene.objects
            assert len(objects) <= 6 and objects[: len(task.scene.objects)] == task.scene.objects
            added = {o.colour for o in objects[len(task.scene.objects) :]}
            assert not added & {o.colour for o in task.scene.objects}, name
            assert not [c for c in added if c in task.instruction], name


def test_the_expert_follows_a_swapped_instruction(env):
    varied = VariedEnv(env, Variation("swap"))
    result = run_episode(varied, ExpertPolicy(), SEED, varied.instruction)
    assert result.success and result.instruction == varied.effect.task.instruction
    assert not varied.original.success(env.world)


def test_a_variation_that_makes_no_sense_is_refused(env):
    with pytest.raises(OptionError, match="no such variation"):
        VariedEnv(env, Variation("fog", 1)).begin(SEED)
    task = load_suite()["put_in_tray"].episode(SEED)
    lonely = replace(task, scene=replace(task.scene, objects=task.scene.objects[:1]))
    assert find_effect(Variation("swap"), lonely, SEED) is None
