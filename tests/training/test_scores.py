"""`vla-agent data score`: losses, weights, and trainings that draw by them, bound to the dataset and to the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.inputs.badinput.good_inputs import Good, write_dataset
from vla_agent.cli import main
from vla_agent.errors import DatasetError, OptionError, RecipeError
from vla_agent.finetuning.batches import BatchSampler
from vla_agent.finetuning.dataset_mixture import Mixture
from vla_agent.finetuning.finetune_recipe import FineTune, make_finetune
from vla_agent.finetuning.tune import finetune
from vla_agent.policy.loading import load_policy
from vla_agent.training.demonstrations import load_demonstrations
from vla_agent.training.recipe import Data, TrainHead
from vla_agent.training.scores import score
from vla_agent.training.scores.instruction_contrast import contrast_weights, contrasts
from vla_agent.training.scores.noise_mixture import lowest_weights, mixture_weights
from vla_agent.training.scores.score_file import episode_weights, pin_scores
from vla_agent.training.stages.head_stage import draw_rows


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Good:
    return Good(tmp_path_factory.mktemp("scores"))


def run_score(good: Good, out: Path, *words: str) -> int:
    few = ("--frames", "3", "--draws", "2")
    return main(["data", "score", str(good.dataset), "--policy", str(good.policy), "-o", str(out), *few, *words])


@pytest.fixture(scope="module")
def scored(good) -> Path:
    file = good.root / "scores.json"
    assert run_score(good, file, "--keep-lowest", "0.5") == 0
    return file


def recipe(good: Good, scores: Path, data: Path | None = None) -> FineTune:
    settings = {"base": str(good.policy), "data": {"demonstrations": [str(data or good.dataset)]}}
    few = ("train.samples=8", "train.batch=4", "train.warmup_steps=0")
    return make_finetune(settings, (*few, f'data.scores=["{scores}"]'))


def test_a_second_group_of_losses_gets_low_weights_that_never_rise_with_the_loss():
    rng = np.random.default_rng(0)
    losses = np.exp(np.concatenate([rng.normal(-3, 0.2, 70), rng.normal(-1.5, 0.3, 30)]))
    weights, mixture = mixture_weights(losses)
    assert mixture is not None and mixture.two and mixture.shares[1] == pytest.approx(0.3, abs=0.05)
    assert weights[:70].min() > 0.9 and weights[70:].max() < 0.1
    low = np.append(losses, 1e-6)  # far below: still a good one
    assert mixture_weights(low)[0][-1] > 0.9
    ordered = weights[np.argsort(losses)]
    assert (np.diff(ordered) <= 0).all()


def losses_of(rng: np.random.Generator, right: int, wrong: int, others: int = 8) -> np.ndarray:
    """Log losses (n, 1 + others): the own instruction's is lower where it is the right one."""
    losses = rng.normal(-2, 0.15, (right + wrong, 1 + others)) + rng.normal(0, 0.5, (right + wrong, 1))
    losses[:right, 0] -= 0.6
    return losses


def test_episodes_whose_actions_other_instructions_explain_as_well_get_low_weights():
    told = np.array([contrasts(row) for row in losses_of(np.random.default_rng(0), 70, 15)])
    weights, fit = contrast_weights(told)
    assert fit is not None and fit.share == pytest.approx(70 / 85, abs=0.06)
    assert weights[:70].mean() > 0.95 and weights[70:].mean() < 0.25
    assert (np.diff(weights[np.argsort(told[:, 0])]) <= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_right_instructions_keep_their_weights(seed):
    told = np.array([contrasts(row) for row in losses_of(np.random.default_rng(seed), 60, 0)])
    assert contrast_weights(told)[0].mean() > 0.95


def test_without_other_instructions_nothing_is_said_of_the_own_one():
    rng = np.random.default_rng(0)
    for told in (
        np.array([contrasts(row) for row in losses_of(rng, 20, 5, others=1)]),
        np.array([contrasts(row) for row in losses_of(rng, 20, 5, others=0)]),
        np.array([contrasts(row) for row in losses_of(rng, 4, 3)]),
        np.zeros((20, 9)),
        np.array([contrasts(row) for row in losses_of(rng, 0, 20)]) + np.eye(1, 9),  # the own one explains least
    ):
        weights, fit = contrast_weights(told)
        assert fit is None and (weights == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_one_group_of_losses_keeps_every_weight(seed):
    losses = np.exp(np.random.default_rng(seed).normal(-3, 0.4, 80))
    weights, mixture = mixture_weights(losses)
    assert (weights == 1).all() and mixture is not None and not mixture.two
    assert mixture_weights(np.full(20, 0.1))[1] is None and mixture_weights(losses[:5])[1] is None


def test_the_lowest_fraction_is_kept():
    losses = np.array([0.5, 0.1, 0.4, 0.2, 0.3])
    assert lowest_weights(losses, 0.5).tolist() == [0, 1, 0, 1, 1] and lowest_weights(losses, 1.0).all()
    for fraction in (0.0, 1.1, float("nan")):
        with pytest.raises(OptionError, match="keep-lowest"):
            score.ScoreSettings(keep_lowest=fraction)


def test_rows_are_drawn_as_often_as_their_weights_say():
    settings, rng = TrainHead(samples=0, batch=8000, early_share=0.25), np.random.default_rng(0)
    weights = np.array([0.0, 1.0, 3.0, 0.0, 4.0])
    rows = draw_rows(np.array([0, 1, 2]), 5, settings, rng, weights)
    np.testing.assert_allclose(np.bincount(rows[:2000], minlength=5) / 2000, [0, 0.25, 0.75, 0, 0], atol=0.03)
    np.testing.assert_allclose(np.bincount(rows[2000:], minlength=5) / 6000, weights / 8, atol=0.03)
    assert len(draw_rows(np.array([0]), 5, settings, rng, weights)) == 8000, "no first frame has a weight"
    mixture = Mixture(np.array([0, 0, 0, 1, 1]), np.zeros(5, bool), ("a", "b"), (1, 1), weights)
    shares = np.bincount(mixture.draw(settings, rng), minlength=5) / 8000
    np.testing.assert_allclose(shares, [0, 0.125, 0.375, 0, 0.5], atol=0.03)
    with pytest.raises(RecipeError, match="no frames to draw"):
        Mixture(np.array([0, 1]), np.zeros(2, bool), ("a", "b"), (1, 1), np.array([1.0, 0.0]))


def test_an_interrupted_scoring_goes_on_and_gives_the_same_file(good, scored, tmp_path, monkeypatch):
    out, plain, calls = tmp_path / "scores.json", score._score, []

    def second_fails(policy, demos, episode, settings):
        calls.append(episode)
        if episode == 1 and calls.count(1) == 1:
            raise KeyboardInterrupt
        return plain(policy, demos, episode, settings)

    monkeypatch.setattr(score, "_score", second_fails)
    assert run_score(good, out, "--keep-lowest", "0.5") == 130 and not out.exists()
    with (tmp_path / ".scores.json.partial").open("a") as file:
        file.write('{"loss": 1, "fea')  # cut off by a kill
    assert run_score(good, out, "--keep-lowest", "0.5") == 0
    assert calls == [0, 1, 1] and out.read_bytes() == scored.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_scores_say_what_they_are_of(good, scored, tmp_path, capsys):
    data = json.loads(scored.read_text())
    assert data["dataset"]["sha256"] == load_demonstrations((str(good.dataset),), 16).hashes[0]
    assert sorted(entry["weight"] for entry in data["episodes"]) == [0, 1]
    losses = [entry["loss"] for entry in data["episodes"]]
    assert all(loss > 0 for loss in losses) and losses[0] != losses[1]
    assert data["episodes"][int(np.argmin(losses))]["weight"] == 1
    assert data["diversity"]["weighted"] == pytest.approx(0.0, abs=1e-9), "of one episode"
    assert 1e-9 < data["diversity"]["all"] <= 1
    assert run_score(good, tmp_path / "scores.parquet") == 0
    assert "no two groups of losses" in capsys.readouterr().out
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "scores.parquet")
    assert table["loss"].to_pylist() == losses and json.loads(table.schema.metadata[b"vla_agent"])["mixture"] is None
    assert run_score(good, tmp_path / "scores.txt") == 2
    assert main(["data", "score", str(good.dataset), "-o", str(tmp_path / "s.json")]) == 2


def test_a_finetuning_draws_no_episode_of_weight_0(good, scored):
    import torch

    policy, demos = load_policy(good.policy), load_demonstrations((str(good.dataset),), 16)
    sampler = BatchSampler(policy, demos, recipe(good, scored))
    (kept,) = [e["episode"] for e in json.loads(scored.read_text())["episodes"] if e["weight"] == 1]
    generator = torch.Generator().manual_seed(0)
    rows = np.concatenate([sampler.draw(generator).state.numpy() for _ in range(20)])
    own = demos.state[demos.episode == kept]
    assert all((own == row).all(axis=1).any() for row in rows)


def test_scores_of_another_dataset_are_refused(good, scored, tmp_path):
    other = write_dataset(tmp_path / "other", good.contract, frames=8)
    with pytest.raises(RecipeError, match="another dataset"):
        finetune(recipe(good, scored, other), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    demos = load_demonstrations((str(other), str(good.dataset)), 16)
    weights = episode_weights(Data(scores=(str(scored),)), demos, ("other", "own"))
    assert weights is not None and weights[:2].tolist() == [1, 1] and sorted(weights[2:]) == [0, 2]
    broken = tmp_path / "broken.json"
    for change in ({"kind": "x"}, {"episodes": []}, {"version": 9}):
        broken.write_text(json.dumps(json.loads(scored.read_text()) | change))
        with pytest.raises(RecipeError, match="cannot be used"):
            episode_weights(Data(scores=(str(broken),)), demos, ("other", "own"))


def test_a_run_is_resumed_with_the_same_scores_alone(good, scored, tmp_path):
    mine = Path(shutil.copy(scored, tmp_path / "mine.json"))
    finetune(recipe(good, mine), tmp_path / "run")
    finetune(recipe(good, mine), tmp_path / "run", resume=True)
    data = json.loads(mine.read_text())
    for entry in data["episodes"]:
        entry["weight"] = 1.0
    mine.write_text(json.dumps(data))
    with pytest.raises(RecipeError, match=r"data\.scores_sha256"):
        finetune(recipe(good, mine), tmp_path / "run", resume=True)
    pinned = pin_scores(recipe(good, scored))
    stale = pinned.model_copy(update={"data": pinned.data.model_copy(update={"scores": (str(mine),)})})
    with pytest.raises(RecipeError, match="not the one that the recipe names"):
        pin_scores(stale)


def test_a_loss_that_is_no_number_names_the_episode(good, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "_score", lambda *_: (float("nan"), [0.1], np.zeros(4, np.float32)))
    with pytest.raises(DatasetError, match="episode 0"):
        score.score_dataset(str(good.dataset), str(good.policy), tmp_path / "s.json", score.ScoreSettings())
    assert not (tmp_path / "s.json").exists()
