"""Delay in the simulator's loop: the default path, held steps, replay, and the settings of a report."""

import json
import re

import numpy as np
import pytest

from sim.env import TabletopEnv
from sim.policies import ReplayPolicy
from sim.rollout import EpisodeSettings, run_episode
from sim.tasks.task import load_suite
from vla_agent.cli import main
from vla_agent.errors import OptionError, ReportError
from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.evaluation.replay_episode import replay
from vla_agent.policy.execution import MODES, ChunkExecutor
from vla_agent.policy.execution_settings import Execution


class Drifter:
    """Drifts in a direction that the image and its generator decide; records the committed actions that it gets."""

    execute = 8

    def __init__(self) -> None:
        self.committed = []

    def reset(self, instruction, seed=0):
        self.rng = np.random.default_rng(seed)

    def act(self, observation, committed=None):
        self.committed.append(committed)
        shade = observation["images"]["wrist"].mean() / 1e5
        chunk = np.tile(self.rng.uniform(-0.01, 0.01, 7).astype(np.float32) + np.float32(shade), (16, 1))
        chunk[:, 6] = 0.5
        return chunk


def drifter(name: str) -> Drifter:
    return Drifter()


@pytest.fixture(scope="module")
def env():
    env = TabletopEnv("press_button")
    yield env
    env.close()


def bits(result):
    return result.state_hash, result.image_hash, result.looks, result.actions.tobytes()


def test_an_open_loop_executor_without_delay_is_the_default_path_bit_for_bit(env):
    default = run_episode(env, Drifter(), 3)
    assert bits(run_episode(env, Drifter(), 3, EpisodeSettings(executor=ChunkExecutor("open_loop", 16, 8)))) == bits(
        default
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_arm_holds_until_the_first_chunk_arrives_and_any_delay_replays(env, mode):
    policy = Drifter()
    result = run_episode(env, policy, 3, EpisodeSettings(executor=ChunkExecutor(mode, 16, 8), delay=4))
    assert not result.actions[:4, :6].any() and result.actions[4, :6].any()
    assert result.looks[:3] == ((0, 8, 16) if mode in ("open_loop", "realtime") else (0, 4, 8))
    guided = [c for c in policy.committed if c is not None]
    assert bool(guided) == (mode == "realtime")
    if guided:
        assert (guided[0].delay, guided[0].decided) == (4, 8)
        np.testing.assert_array_equal(guided[0].actions[:4], result.actions[8:12])  # what did run
    again = run_episode(env, ReplayPolicy(result.actions, result.looks), 3)
    assert bits(again) == bits(result)


def test_a_delay_longer_than_the_rest_of_the_chunk_holds_in_between(env):
    result = run_episode(env, Drifter(), 3, EpisodeSettings(executor=ChunkExecutor("open_loop", 16, 12), delay=8))
    assert result.looks[:2] == (0, 12)
    assert not result.actions[16:20, :6].any() and (result.actions[16:20, 6] == 0.5).all()


def test_a_delay_needs_an_executor(env):
    with pytest.raises(OptionError, match="delay"):
        run_episode(env, Drifter(), 3, EpisodeSettings(delay=2))


@pytest.fixture
def options(tmp_path):
    """Of an evaluation whose episodes end after three seconds: the drifter presses no button."""
    task = tmp_path / "press_button.yaml"
    task.write_text(re.sub(r"time_limit: \d+", "time_limit: 60", load_suite()["press_button"].file.read_text()))
    return {"tasks": [str(task)], "controls": "none", "out": tmp_path / "r", "load": drifter}


def test_settings_are_in_the_report_and_decide_what_can_be_resumed(options, tmp_path):
    delayed = Execution("realtime", 120.0)
    report = evaluate(EvaluationSettings("drifter", episodes=1, execution=delayed, **options))
    assert report["summary"]["settings"] | {"execution": "realtime", "delay_ms": 120.0} == report["summary"]["settings"]
    assert "realtime, delay 120" in (tmp_path / "r" / "report.html").read_text()
    for other in (Execution(), Execution("realtime", 100.0), Execution("ensemble", 120.0)):
        with pytest.raises(ReportError, match="another evaluation"):
            evaluate(EvaluationSettings("drifter", episodes=2, resume=True, execution=other, **options))
    more = evaluate(EvaluationSettings("drifter", episodes=2, resume=True, execution=delayed, **options))
    assert more["episodes"][0] == report["episodes"][0] and len(more["episodes"]) == 2
    assert replay(tmp_path / "r" / "report.json", 1).exact


def test_a_report_without_execution_settings_is_one_of_the_default(options, tmp_path):
    report = evaluate(EvaluationSettings("drifter", episodes=1, **options))
    assert not {"execution", "delay_ms"} & set(json.loads((tmp_path / "r" / "report.json").read_text())["summary"])
    again = evaluate(EvaluationSettings("drifter", episodes=1, resume=True, **options))
    assert again["episodes"] == report["episodes"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["policies/tabletop-nano", "--execution", "closed_loop"],
        ["policies/tabletop-nano", "--delay-ms", "-1"],
        ["policies/tabletop-nano", "--delay-ms", "nan"],
        ["expert", "--delay-ms", "100"],
        ["policies/tabletop-nano", "--rename-camera", "front"],
        ["policies/tabletop-nano", "--rename-camera", "side=front", "--episodes", "1", "--controls", "none"],
    ],
)
def test_invalid_options_are_refused(arguments, tmp_path, capsys):
    assert main(["eval", *arguments, "--workers", "1", "--out", str(tmp_path / "r")]) == 2
    assert "expected:" in capsys.readouterr().err and not (tmp_path / "r").exists()
