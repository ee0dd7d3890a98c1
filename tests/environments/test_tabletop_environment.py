"""The tabletop behind the protocol gives the bits of `sim.rollout`, which the gate's certificates are bound to."""

from __future__ import annotations

import numpy as np
import pytest

from sim.env import TabletopEnv
from sim.policies import ExpertPolicy, RandomPolicy
from sim.rollout import EpisodeSettings, run_episode
from sim.tasks.task import load_suite
from vla_agent.environments.check.check import check
from vla_agent.environments.check.probe import Settings
from vla_agent.environments.episode import Playing, play_episode
from vla_agent.environments.protocol import OPTIONAL, Environment, left_out, offered
from vla_agent.environments.scripted import EnvironmentExpert
from vla_agent.environments.tabletop import Tabletop
from vla_agent.policy.execution import ChunkExecutor

TASKS = ("press_button", "put_in_tray")
COMPARED = ("task", "seed", "instruction", "task_instruction", "success", "steps", "looks", "state_hash", "image_hash")


class Looker:
    """Looks, and moves by what it sees."""

    execute = 8

    def reset(self, instruction: str, seed: int = 0) -> None:
        self._random = np.random.default_rng([seed, len(instruction)])

    def act(self, observation):
        seen = float(observation["images"]["front"].mean()) / 255
        return np.tile(self._random.uniform(-0.02, 0.02, 7) * seen, (16, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def families():
    suite = load_suite()
    return {name: suite[name] for name in TASKS}


@pytest.fixture(scope="module")
def tabletop(families):
    environment = Tabletop(families)
    yield environment
    environment.close()


@pytest.mark.parametrize(
    ("kind", "task"),
    [("expert", "put_in_tray"), ("random", "press_button"), ("looker", "press_button"), ("late", "press_button")],
)
def test_both_ways_of_playing_give_the_same_bits(tabletop, families, kind, task):
    policy = {"expert": ExpertPolicy, "random": RandomPolicy, "looker": Looker, "late": Looker}[kind]()
    executor, delay = (ChunkExecutor("open_loop", 16, 8), 2) if kind == "late" else (None, 0)
    mine = play_episode(tabletop, policy, task, 5_400_001, Playing(None, executor, delay))
    env = TabletopEnv(families[task])
    theirs = run_episode(env, policy, 5_400_001, EpisodeSettings(None, executor, delay))
    env.close()
    assert {key: getattr(mine, key) for key in COMPARED} == {key: getattr(theirs, key) for key in COMPARED}
    assert mine.actions.tobytes() == theirs.actions.tobytes() and mine.events == theirs.events


def test_the_expert_of_the_protocol_is_the_simulators_own(tabletop):
    own = play_episode(tabletop, EnvironmentExpert(tabletop), "press_button", 5_400_002)
    bound = play_episode(tabletop, ExpertPolicy(), "press_button", 5_400_002)
    assert own.success and own.actions.tobytes() == bound.actions.tobytes() and own.state_hash == bound.state_hash


def test_it_offers_everything_but_groups_perturbations_and_annotations(tabletop):
    assert isinstance(tabletop, Environment)
    assert set(OPTIONAL) - set(offered(tabletop)) == {"groups", "perturb", "axes", "annotations"}
    assert set(left_out(offered(tabletop))) == {"groups", "perturb"}


def test_the_checker_finds_nothing_in_it(families):
    assert check(lambda: Tabletop({"press_button": families["press_button"]}), Settings(tasks=1, steps=4)) == []
