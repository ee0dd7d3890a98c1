"""The adapter for vla-eval, in its own harness: its orchestrator, its websocket, one of its model servers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vla_eval")

from vla_eval import evaluate  # noqa: E402
from vla_eval.model_servers.predict import PredictModelServer  # noqa: E402
from vla_eval.specs import GRIPPER_01, IMAGE_RGB, LANGUAGE, DimSpec  # noqa: E402

from vla_agent.errors import ContractError, OptionError, RecipeError  # noqa: E402
from vla_agent.files.bounded_yaml import read_yaml  # noqa: E402
from vla_agent.leaderboard.frozen_suite import GROUNDING, read_suite  # noqa: E402
from vla_agent.leaderboard.vla_eval_benchmark import TabletopBenchmark  # noqa: E402

SUITE = read_suite("tabletop-1")
CONFIG = Path(__file__).parents[2] / "config" / "vla_eval" / "tabletop-1.yaml"


class Still(PredictModelServer):
    """A policy that does nothing; it remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict] = []

    def predict(self, obs, ctx):
        self.seen.append(obs)
        return {"actions": np.zeros(7, np.float32)}

    def get_action_spec(self):
        return {
            "position": DimSpec("position", 3, "delta_xyz_metres"),
            "rotation": DimSpec("rotation", 3, "axis_angle"),
            "gripper": GRIPPER_01,
        }

    def get_observation_spec(self):
        return {"front": IMAGE_RGB, "language": LANGUAGE}


def test_its_harness_plays_frozen_episodes(tmp_path):
    """One episode in which the named object is gone, and its control: to rest is right in the first alone."""
    gone = min(
        (e for e in SUITE.episodes if e.cell == "probe.removed"),
        key=lambda e: (e.task != "push_to_zone", e.seed),
    )
    control = next(e for e in SUITE.episodes if (e.cell, e.task, e.seed) == ("control", gone.task, gone.seed))
    server = Still()
    config = dict(read_yaml(CONFIG, RecipeError)) | {"output_dir": str(tmp_path), "render": "cpu"}
    overrides = {"tasks": [gone.key, control.key], "max_steps": 20, "recording": {"record_video": False}}
    (result,) = evaluate(server, config, benchmark_overrides=overrides, no_save=True)
    by_name = {task["task"]: task for task in result["tasks"]}
    assert by_name[gone.key]["mean_success"] == 1.0 and by_name[control.key]["mean_success"] == 0.0
    assert {obs["task_description"] for obs in server.seen} == {gone.instruction, control.instruction}
    first = server.seen[0]
    assert first["images"]["front"].shape == (96, 96, 3) and first["images"]["front"].dtype == np.uint8
    assert first["state"].shape == (17,)


def test_parts_and_actions_are_checked():
    benchmark = TabletopBenchmark(part=GROUNDING)
    tasks = benchmark.get_tasks()
    assert len(tasks) == 120 and {task["suite"] for task in tasks} == {GROUNDING}
    benchmark.reset(tasks[0])
    with pytest.raises(ContractError):
        benchmark.step({"actions": np.full(7, np.nan, np.float32)})
    with pytest.raises(ContractError):
        benchmark.step({"actions": np.zeros(8, np.float32)})
    assert benchmark.get_hold_action({"actions": np.ones(7)})["actions"].tolist() == [0] * 6 + [1]
    assert benchmark.get_metadata()["suite_sha256"] == SUITE.sha256
    benchmark.cleanup()
    with pytest.raises(OptionError):
        TabletopBenchmark(part="half")
