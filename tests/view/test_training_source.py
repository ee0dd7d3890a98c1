"""A training in the window: its log is followed while it is written, its newest checkpoint looks at a few frames."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")

from vla_agent.cli import main  # noqa: E402
from vla_agent.contract import Camera, Contract, Field  # noqa: E402
from vla_agent.data.lerobot import dataset_schema  # noqa: E402
from vla_agent.data.lerobot.dataset_writer import write_dataset  # noqa: E402
from vla_agent.data.lerobot.episode import Episode, encode  # noqa: E402
from vla_agent.errors import OptionError  # noqa: E402
from vla_agent.view.source import Command  # noqa: E402
from vla_agent.view.sources.training import (  # noqa: E402
    QUIET,
    TrainingSettings,
    TrainingSource,
    is_training,
    stage_samples,
)
from vla_agent.view.sources.trainings.log_follower import MOST, POINTS, LogFollower  # noqa: E402

CONTRACT = Contract(
    cameras=(Camera("front", 32, 32), Camera("wrist", 32, 32)),
    state=(Field("ee_position", 3, "m", "base"), Field("gripper", 1, "")),
    action=(Field("ee_translation", 3, "m", "base"), Field("gripper", 1, "")),
    control_hz=20.0,
    chunk_length=8,
)
RECIPE = """\
name: small
chunk_length: 8
execute: 4
data: {demonstrations: [DATA], image_size: [32, 32]}
backbone: {hidden_size: 32, stem_channels: [16, 16], film_blocks: 1, text_layers: 1, fusion_layers: 1, keypoints: 4}
head: {kind: regression, width: 32, depth: 1, patch: 4}
end_to_end: {samples: 48, batch: 8, warmup_steps: 1, frame_stride: 1}
"""


def write_rows(file: Path, rows: list[dict], end: str = "\n") -> None:
    with file.open("a") as log:
        log.write("\n".join(json.dumps(row) for row in rows) + end)


def row(step: int, **losses: float) -> dict:
    return {"step": step, "samples": 8 * (step + 1), "seconds": 0.5 * step} | losses


def test_a_log_is_followed_line_by_line_and_stays_bounded(tmp_path):
    log = LogFollower(tmp_path / "head.jsonl")
    assert not log.read() and not log.rows
    write_rows(log.file, [row(0, flow=1.0), row(20, flow=0.1)])
    assert log.read() and len(log.rows) == 2 and not log.read()
    assert log.speed == pytest.approx(16.0)
    whole = json.dumps(row(40, flow=0.01))
    write_rows(log.file, [], whole[:9])
    assert log.read() and len(log.rows) == 2, "half a line is none yet"
    write_rows(log.file, [], whole[9:] + "\n")
    assert log.read() and len(log.rows) == 3
    plot = log.loss_plot(logarithmic=True)
    assert plot.lines["log10 flow"].tolist() == pytest.approx([0, -1, -2])
    write_rows(log.file, [row(step, flow=0.5) for step in range(60, 60 + 2 * MOST)])
    while log.read():
        pass
    assert len(log.rows) <= MOST and len(log.loss_plot(False).x) == POINTS
    assert log.rows[-1]["step"] == 59 + 2 * MOST and (np.diff(log.loss_plot(False).x) > 0).all()
    log.file.write_text(json.dumps(row(0, flow=3.0)) + "\nno row\n")
    assert log.read() and [r["flow"] for r in log.rows] == [3.0], "a shorter log is another run's"


def test_losses_what_is_left_and_runs_are_shown(tmp_path):
    (tmp_path / "recipe.yaml").write_text("train_head: {samples: 1600}\n")
    source = TrainingSource(TrainingSettings(tmp_path))
    source.open()
    with closing(source):
        first = source.step()
        assert first is not None and first.status.text.startswith("no losses yet") and source.step() is None
        write_rows(tmp_path / "head.jsonl", [row(0, flow=1.0), row(99, flow=0.2)])
        frame = source.step()
        assert frame is not None and frame.status.text == "training: head"
        assert frame.facts["samples"] == "800 of 1,600 (50%)" and frame.facts["flow"] == "0.2"
        assert frame.facts["left"].startswith("0.8 min") and source.step() is None
        (tmp_path / "run-1").mkdir()
        write_rows(tmp_path / "run-1" / "pretrain.jsonl", [row(0, map=2.0)])
        frame = source.step()
        assert frame is not None and frame.options["stage"] == ("the newest", "head", "run-1/pretrain")
        source.command(Command("stage", "run-1/pretrain"))
        assert source.step().facts["stage"] == "run-1/pretrain"  # type: ignore[union-attr]
    (tmp_path / "policy.json").write_text("{}")
    assert not is_training(tmp_path)
    with pytest.raises(OptionError, match="no training"):
        TrainingSource(TrainingSettings(tmp_path)).open()


def test_that_a_training_stands_or_is_finished_is_said_without_a_new_row(tmp_path):
    (tmp_path / "recipe.yaml").write_text("train_head: {samples: 1600}\n")
    write_rows(tmp_path / "head.jsonl", [row(0, flow=1.0), row(99, flow=0.2)])
    source = TrainingSource(TrainingSettings(tmp_path))
    source.open()
    with closing(source):
        assert source.step().status.text == "training: head" and source.step() is None  # type: ignore[union-attr]
        source._logs["head"].changed -= 2 * QUIET
        assert source.step().status.text.startswith("nothing new for 2 min")  # type: ignore[union-attr]
        assert source.step() is None
        (tmp_path / "policy").mkdir()
        (tmp_path / "policy" / "policy.json").write_text("{}")
        assert source.step().status.text.startswith("finished")  # type: ignore[union-attr]
        assert source.step() is None


@pytest.mark.parametrize("recipe", ["train_head: {samples: .inf}", "train_head: {samples: many}", "[", "a: 1", ""])
def test_a_recipe_without_a_number_of_samples_leaves_that_out(tmp_path, recipe):
    (tmp_path / "recipe.yaml").write_text(recipe)
    write_rows(tmp_path / "head.jsonl", [row(0, flow=1.0)])
    assert stage_samples(tmp_path / "head.jsonl") == 0


def test_the_newest_checkpoint_looks_at_samples(tmp_path):
    rng, episodes = np.random.default_rng(0), []
    for number in range(2):
        numbers = rng.random((30, 4)).astype(np.float32) * 0.02
        images = rng.integers(0, 255, (30, 32, 32, 3), np.uint8)
        columns = {dataset_schema.STATE: numbers, dataset_schema.ACTION: numbers}
        cameras = {"front": images, "wrist": images}
        episodes.append(encode(Episode(f"push cube {number}", columns, cameras, {}), "images", 20))
    data = write_dataset(tmp_path / "data", CONTRACT, episodes, "images", "arm", {})
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("DATA", str(data)))
    out = tmp_path / "run"
    assert main(["train", str(tmp_path / "recipe.yaml"), "-o", str(out)]) == 0
    source = TrainingSource(TrainingSettings(out))
    source.open()
    with closing(source):
        plain = source.step()
        assert plain is not None and not plain.pictures and plain.status.text.startswith("finished")
        source.command(Command("samples", True))
        frame = source.step()
        assert frame is not None and frame.facts["checkpoint"] == "end_to_end, step 6"
        assert [p.name for p in frame.pictures] == ["front", "wrist"] and frame.pictures[0].maps is not None
        chunk = next(plot for plot in frame.plots if plot.title == "predicted and true chunk")
        assert np.isfinite(chunk.lines["0 predicted"]).all() and np.isfinite(chunk.lines["0 true"]).all()
        assert 0 < float(frame.facts["chunk error, normalised"]) < 2
        source.command(Command("sample", 7.0))
        other = source.step()
        assert other is not None and (other.pictures[0].image != frame.pictures[0].image).any()
        (out / "end_to_end" / "progress.json").write_text(json.dumps({"step": 7}))
        again = source.step()
        assert again is not None and again.facts["checkpoint"] == "end_to_end, step 7", "a new checkpoint is seen"
