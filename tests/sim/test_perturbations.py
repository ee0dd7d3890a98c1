"""Perturbations and counterfactuals: deterministic, visible, and gone after the next reset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.env import TabletopEnv
from sim.perturbations.appearance import APPEARANCE_AXES, domain_randomisation
from sim.perturbations.catalogue import AXES, PROBES, find_effect
from sim.perturbations.languages import languages, translations
from sim.perturbations.variation import Variation
from sim.perturbations.varied_env import VariedEnv
from sim.policies import ExpertPolicy
from sim.rollout import EpisodeSettings, run_episode, state_hash
from sim.tasks.task import load_suite
from sim.world.textures import PATTERNS, SIZE
from vla_agent.errors import OptionError

SEED = 500_003
APPEARANCE = (
    "lighting",
    "camera",
    "background",
    "object_look",
    "distractors",
    "object_pose",
    "layout",
    "unseen_objects",
)


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
    if name in (*APPEARANCE, "removed", "blind"):
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


def test_a_pattern_lies_on_the_table_and_stands_out_more_with_each_severity(env):
    """Beside the colour: the same table without its pattern is another image, the more the higher the severity."""
    table = env.world.model.geom("table").id
    differences = []
    for severity in (1, 2, 3):
        _, _ = begun(env, Variation("background", severity))
        assert env.world.model.geom_matid[table] >= 0, "the seed draws a pattern"
        patterned = env.world.render()["front"].astype(int)
        env.world.alter("geom_matid", table, -1)
        differences.append(np.abs(patterned - env.world.render()["front"]).mean())
    assert 1 < differences[0] < differences[1] < differences[2]
    env.begin(SEED)
    assert env.world.model.geom_matid[table] == -1


def test_every_pattern_repeats_without_a_seam():
    """Across the edge of a tile the brightness changes no more than inside it."""
    for name, brightness in PATTERNS.items():
        assert brightness.shape == (SIZE, SIZE) and brightness.min() >= 0 and brightness.max() <= 1, name
        for axis in (0, 1):
            steps = np.abs(np.diff(brightness, axis=axis, append=brightness.take([0], axis=axis)))
            assert steps.take([-1], axis=axis).mean() <= steps.mean(axis=1 - axis).max() + 1e-9, name


def test_appearance_axes_change_the_images_alone(env):
    def begun_with(*axes, stream=0):
        task = env.family.episode(SEED)
        env.begin(SEED, domain_randomisation(task, axes, np.random.default_rng(stream)))
        return state_hash(env.world), env.world.render()["front"].tobytes()

    plain = begun_with()
    drawn = {begun_with(*APPEARANCE_AXES, stream=k) for k in range(4)}
    assert {state for state, _ in drawn} == {plain[0]}
    assert len({image for _, image in drawn}) == 4
    assert begun_with(*APPEARANCE_AXES, stream=1) == begun_with(*APPEARANCE_AXES, stream=1)
    with pytest.raises(OptionError, match="lighting"):
        domain_randomisation(env.family.episode(SEED), ["unseen_objects"], np.random.default_rng(0))


def test_words_change_without_the_scene():
    task = load_suite()["put_in_tray"].episode(SEED)
    for name in ("paraphrase", "typo", "language", "blank", "absent", "contradict"):
        found = find_effect(Variation(name, 1), task, SEED)
        assert found is not None and found.task.scene == task.scene and found.instruction != task.instruction
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
    result = run_episode(varied, ExpertPolicy(), SEED, EpisodeSettings(instruction=varied.instruction))
    assert result.success and result.instruction == varied.effect.task.instruction
    assert not varied.original.success(env.world)


def test_a_variation_that_makes_no_sense_is_refused(env):
    with pytest.raises(OptionError, match="no such variation"):
        VariedEnv(env, Variation("fog", 1)).begin(SEED)
    task = load_suite()["put_in_tray"].episode(SEED)
    lonely = replace(task, scene=replace(task.scene, objects=task.scene.objects[:1]))
    assert find_effect(Variation("swap"), lonely, SEED) is None
