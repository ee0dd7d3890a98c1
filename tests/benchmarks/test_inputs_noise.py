"""inputs-noise: what is spoiled, and what the losses are said to tell of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.inputs import inputs_noise
from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode


def test_three_of_ten_are_spoiled_in_two_ways_and_the_others_stay(tmp_path):
    contract = Contract((Camera("front", 16, 16),), (Field("x", 2, "m"),), (Field("v", 2, "m"),), 20.0, 16)
    ramp = np.arange(60, dtype=np.float32).reshape(30, 2)
    columns = {dataset_schema.STATE: ramp, dataset_schema.ACTION: ramp}
    images = {"front": np.zeros((30, 16, 16, 3), np.uint8)}
    episodes = [encode(Episode(f"task {k % 2}", columns, images, {"seed": k}), "images", 20) for k in range(10)]
    clean = load(write_dataset(tmp_path / "clean", contract, episodes, "images"))
    noisy, kinds = load(inputs_noise.spoil(clean, tmp_path / "noisy")), inputs_noise.spoiled_episodes(10)
    assert len(kinds) == 3 and set(kinds.values()) == set(inputs_noise.KINDS)
    for before, after in zip(clean.episodes, noisy.episodes, strict=True):
        kind = kinds.get(before.index)
        assert (after.task != before.task) == (kind == "wrong instruction")
        actions = noisy.columns[dataset_schema.ACTION][after.start : after.stop]
        assert (actions[0] == ramp[inputs_noise.SHIFT if kind == "shifted actions" else 0]).all()
        assert (noisy.columns[dataset_schema.STATE][after.start : after.stop] == ramp).all()


def test_the_difference_is_paired_and_the_losses_are_judged():
    scenes = [("lift", seed) for seed in range(10)]
    won = {
        "clean": dict.fromkeys(scenes, True),
        "spoiled": {scene: scene[1] < 5 for scene in scenes},
        "spoiled, scored": {scene: scene[1] < 9 for scene in scenes},
    }
    episodes = [{"loss": 1.0 + k, "weight": float(k < 2)} for k in range(4)]
    result = inputs_noise.summarise(won, {"episodes": episodes}, {2: "shifted actions", 3: "wrong instruction"})
    assert result["value"] == pytest.approx(-0.1) and not result["passed"]
    assert "without scores the difference is -0.500" in result["notes"]
    rows = {row["of"]: row for row in result["rows"]}
    assert rows["clean episodes"]["mean weight"] == 1 and rows["shifted actions"]["loss above a clean one's"] == 1
