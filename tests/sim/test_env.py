"""The Gymnasium environment."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sim.env import TabletopEnv
from sim.experts.expert import Expert
from sim.tasks.task import load_suite
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import ContractError, OptionError, TaskError


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    return TabletopEnv()


@pytest.mark.parametrize("control", ["ee_delta", "joint_position"])
def test_gymnasium_checker_is_content(control: str) -> None:
    env = gymnasium.make("vla_agent/Tabletop-v0", task="press_button", control=control, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*normalized space.*")
        check_env(env.unwrapped)
    observation, _ = env.unwrapped.reset(seed=1)
    assert env.unwrapped.observation_space.contains(observation)
    assert env.unwrapped.action_space.shape == (env.unwrapped.contract.action_dim,)
    env.close()


def test_make_knows_the_environment_once_sim_is_imported() -> None:
    code = (
        "import gymnasium, sim; gymnasium.register_envs(sim); e = gymnasium.make('vla_agent/Tabletop-v0');"
        "print(e.unwrapped.family.name); e.close()"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "put_in_tray"


FORGETFUL = """
import gc, sys, tempfile, weakref
weakref.finalize(tempfile, bool)  # an exit hook that is registered before the driver's, so runs after it
from sim.env import TabletopEnv
from sim.world.cameras import Cameras
kept, lost = TabletopEnv(), TabletopEnv()
for env in (kept, lost):
    env.reset(seed=0)
video = Cameras(kept.world.model, (32, 32))
image = kept.world.render()["front"].tobytes()
lost.itself = lost
del lost, env
gc.collect()
assert kept.world.render()["front"].tobytes() == image
video.close()
assert kept.world.render()["front"].tobytes() == image
kept.close()
kept.reset(seed=0)
sys.excepthook = lambda *_: None
"""


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("raise ValueError", 1), ("sys.exit(3)", 3)])
def test_what_is_never_closed_leaves_nothing_on_stderr(ending: str, code: int) -> None:
    """However the process ends: renderers that are alive, garbage, closed and opened again."""
    done = subprocess.run([sys.executable, "-c", FORGETFUL + ending], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")


def test_same_seed_same_bits_whatever_came_before(env: TabletopEnv) -> None:
    def episode() -> list[bytes]:
        observation, info = env.reset(seed=11)
        record = [info["instruction"].encode()]
        rng = np.random.default_rng(0)
        for _ in range(10):
            observation, *_ = env.step(rng.uniform(env.action_space.low, env.action_space.high))
            record += [observation["state"].tobytes(), *(image.tobytes() for image in observation["images"].values())]
        return record

    first = episode()
    env.reset(seed=12)
    env.step(env.action_space.high)
    assert episode() == first


def test_other_seed_other_scene(env: TabletopEnv) -> None:
    scenes = {env.begin(seed).scene for seed in range(5)}
    assert len(scenes) == 5


def test_unseeded_resets_differ_and_follow_the_first_seed(env: TabletopEnv) -> None:
    env.reset(seed=5)
    follow = [env.reset()[1]["instruction"] for _ in range(4)]
    env.reset(seed=5)
    assert [env.reset()[1]["instruction"] for _ in range(4)] == follow and len(set(follow)) > 1


def test_observations_fit_the_contract_and_are_fresh(env: TabletopEnv) -> None:
    first, _ = env.reset(seed=1)
    env.contract.check_observation(first)
    copy = first["images"]["front"].copy()
    for _ in range(10):
        second, *_ = env.step(np.array([0.02, 0, 0, 0, 0, 0, 0], np.float32))
    np.testing.assert_array_equal(first["images"]["front"], copy)
    assert (second["images"]["front"] != copy).any()


def test_expert_succeeds_through_the_environment(env: TabletopEnv) -> None:
    env.reset(seed=2, options={"task": "press_button"})
    expert = Expert(env.world, env.task)
    total = 0.0
    for _ in range(env.task.steps_limit):
        _, reward, terminated, truncated, info = env.step(expert.action())
        total += reward
        if terminated or truncated:
            break
    assert terminated and not truncated and total == 1.0 and info["success"]
    env.reset(seed=2, options={"task": "put_in_tray"})


@pytest.mark.parametrize(
    "action",
    [
        np.full(7, np.nan),
        [0.0] * 6 + [np.inf],
        np.ones(6),
        np.ones(8),
        np.ones((1, 7)),
        ["0"] * 7,
        "up",
        None,
        [[1], 2],
    ],
)
def test_an_action_that_is_none_is_refused_before_anything_moves(env: TabletopEnv, action: object) -> None:
    env.reset(seed=4)
    before, steps = env.world.snapshot().physics, env._steps
    with pytest.raises(ContractError) as error:
        env.step(action)
    assert error.value.key == "action" and error.value.expected.startswith("(7,) finite numbers")
    assert np.array_equal(env.world.snapshot().physics, before) and env._steps == steps
    env.step([0] * 7)


def test_time_limit_truncates(env: TabletopEnv) -> None:
    env.reset(seed=4)
    for step in range(1, env.task.steps_limit + 1):
        _, reward, terminated, truncated, _ = env.step(np.zeros(7))
        assert not terminated and reward == 0.0
        assert truncated == (step == env.task.steps_limit)


def test_contract_and_sizes() -> None:
    env = TabletopEnv(image_size=(64, 80), control="joint_position")
    assert env.contract == tabletop_contract((64, 80), "joint_position")
    observation, _ = env.reset(seed=0)
    assert observation["images"]["wrist"].shape == (64, 80, 3)
    assert env.contract.state_dim == 17 and env.contract.action_dim == 8 == env.action_space.shape[0]
    env.close()


def test_every_family_and_split_resets(env: TabletopEnv) -> None:
    for name in load_suite("tabletop"):
        for split in ("seen", "wordings", "objects"):
            _, info = env.reset(seed=7, options={"task": name, "split": split})
            assert info["task"] == name and info["instruction"] and not env.task.success(env.world)
    env.reset(seed=0, options={"task": "put_in_tray", "split": "seen"})


@pytest.mark.parametrize(
    ("options", "error"),
    [({"task": "fly"}, TaskError), ({"split": "unseen"}, TaskError), ({"control": "torque"}, OptionError)],
)
def test_wrong_options_are_typed_errors(options: dict, error: type) -> None:
    with pytest.raises(error) as caught:
        TabletopEnv(**options)
    assert caught.value.expected and caught.value.remedy


def test_unknown_reset_option_is_a_typed_error(env: TabletopEnv) -> None:
    with pytest.raises(TaskError, match="speed"):
        env.reset(seed=0, options={"speed": 2})
