"""The scripted experts: they succeed, from anywhere; their labels and sub-goals are usable."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.spine.spine_experts import episode
from sim.experts.expert import Expert
from sim.tasks.task import load_suite, select
from sim.world.world import World

FAMILIES = sorted(load_suite("tabletop") | load_suite("new"))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def begin(world: World, family: str, seed: int, noise: float = 0.0) -> Expert:
    task = select(family)[family].sample(np.random.default_rng(seed))
    world.reset(task.scene)
    return Expert(world, task, np.random.default_rng(seed), noise)


@pytest.mark.parametrize("family", FAMILIES)
def test_expert_succeeds(family: str) -> None:
    outcomes = [episode(family, seed)[0] for seed in range(3)]
    assert sum(outcomes) >= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_expert_takes_over_after_random_actions(family: str) -> None:
    outcomes = [episode(family, seed, random_steps=40)[0] for seed in range(100, 102)]
    assert sum(outcomes) >= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_actions_and_subgoals_are_in_range(world: World, family: str) -> None:
    expert = begin(world, family, 5)
    for _ in range(60):
        decision = expert.decide()
        assert decision.label.shape == (7,) and decision.label.dtype == np.float32
        assert np.abs(decision.label[:3]).max() <= 0.0251
        assert np.abs(decision.label[3:6]).max() <= 0.151
        assert 0.0 <= decision.label[6] <= 1.0
        assert decision.subgoal.shape == (2, 3) and np.isfinite(decision.subgoal).all()
        world.step(decision.executed)


def test_deciding_depends_on_the_state_alone(world: World) -> None:
    expert = begin(world, "put_in_tray", 7)
    for _ in range(30):
        world.step(expert.action())
    kept, action, subgoal = world.snapshot(), expert.action(), expert.subgoal()
    for _ in range(20):
        world.step(expert.action())
    world.restore(kept)
    fresh = Expert(world, expert.task)
    np.testing.assert_array_equal(fresh.action(), action)
    np.testing.assert_array_equal(fresh.subgoal(), subgoal)


def test_without_noise_the_label_is_carried_out(world: World) -> None:
    expert = begin(world, "put_in_tray", 3)
    for _ in range(40):
        decision = expert.decide()
        assert decision.clean
        np.testing.assert_array_equal(decision.label, decision.executed)
        world.step(decision.executed)


def test_bursts_are_marked(world: World) -> None:
    expert = begin(world, "put_in_tray", 3, noise=1.0)
    clean, error = [], []
    for _ in range(400):
        decision = expert.decide()
        clean.append(decision.clean)
        error.append(np.abs(decision.executed[:3] - decision.label[:3]).max())
        world.step(decision.executed)
    assert 0.02 < 1.0 - np.mean(clean) < 0.25
    assert np.max(np.array(error)[clean]) < 0.01


def test_subgoal_names_the_target_and_the_tray(world: World) -> None:
    expert = begin(world, "put_in_tray", 11)
    target = world.object_position("target")
    first = expert.subgoal()
    np.testing.assert_allclose(first[0], target, atol=0.01)
    assert np.linalg.norm(first[1][:2] - world.tray()[:2]) < 0.08
    goals = []
    for _ in range(60):
        goals.append(expert.subgoal()[1])
        world.step(expert.action())
    assert np.ptp(np.array(goals), axis=0).max() < 0.02


def test_what_is_lifted_is_held_up_and_what_stands_on_the_cabinet_was_let_go(world: World) -> None:
    expert = begin(world, "lift", 2)
    held = []
    for _ in range(90):
        world.step(expert.action())
        held.append(expert.task.success(world))
    assert held[-1] and held == sorted(held)  # once up, it stays up
    assert world.held("target") and world.object_position("target")[2] > 0.25
    expert = begin(world, "put_on_cabinet", 2)
    while not expert.task.success(world):
        assert world.held("target") or not world.touching("target", "cabinet")
        world.step(expert.action())
    centre, half = world.cabinet_top()
    offset = world.object_position("target") - centre
    assert (np.abs(offset[:2]) < half).all() and 0.0 < offset[2] < 0.1
    assert not world.held("target") and not world.touching("target", "table")


def test_still_after_success(world: World) -> None:
    expert = begin(world, "press_button", 2)
    for _ in range(200):
        world.step(expert.action())
    assert expert.task.success(world)
    before = world.ee_position.copy()
    for _ in range(20):
        action = expert.action()
        world.step(action)
    assert np.linalg.norm(world.ee_position - before) < 0.005
    assert action[6] == 0.0
