"""Several datasets mixed by weight: shares, determinism, resume in the middle, and contracts that disagree."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.inputs.badinput.good_inputs import Good, write_dataset
from vla_agent.adapters.adapter_settings import METHODS, AdapterSettings
from vla_agent.adapters.adapter_targets import PARTS, part_of
from vla_agent.adapters.attach import attach
from vla_agent.cli.learn.finetune import numbers
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_writer import write_dataset as write
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.errors import ContractError, DatasetError, OptionError, RecipeError
from vla_agent.finetuning.dataset_mixture import Mixture
from vla_agent.finetuning.finetune_recipe import Tune, load_finetune, make_finetune
from vla_agent.finetuning.tune import finetune
from vla_agent.policy.loading import load_policy
from vla_agent.training.demonstrations import load_demonstrations


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Good(tmp_path_factory.mktemp("mixing"))


@pytest.fixture(scope="module")
def small(good):
    return write_dataset(good.root / "small", good.contract, frames=6)


def recipe(good, data, *changes):
    few = ("train.samples=40", "train.batch=4", "train.warmup_steps=0")
    return make_finetune({"base": str(good.policy), "data": data}, (*few, *changes))


def test_datasets_are_drawn_by_weight_whatever_their_size_and_the_same_for_a_seed():
    owner = np.repeat([0, 1, 2], [900, 90, 10])
    early = np.tile(np.arange(10) < 2, 100)
    mixture, settings = Mixture(owner, early, ("a", "b", "c"), (2, 1, 1)), Tune(batch=4000, early_share=0.25)
    rows = mixture.draw(settings, np.random.default_rng(5))
    assert len(rows) == 4000 and early[rows[:1000]].all()
    shares = np.bincount(owner[rows], minlength=3) / len(rows)
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.03)
    assert set(rows[owner[rows] == 2]) == set(range(990, 1000)), "every frame of the smallest is drawn"
    assert np.array_equal(rows, mixture.draw(settings, np.random.default_rng(5)))
    plain = Mixture(owner, early, ("a", "b", "c")).draw(settings, np.random.default_rng(5))
    np.testing.assert_allclose(np.bincount(owner[plain], minlength=3) / 4000, [0.9, 0.09, 0.01], atol=0.02)


def test_a_weight_for_a_dataset_without_frames_is_refused():
    with pytest.raises(RecipeError, match=r"no frames to draw[\s\S]*file: +b"):
        Mixture(np.zeros(5, int), np.ones(5, bool), ("a", "b"), (1, 1))


def test_weights_come_from_the_command_line_or_a_list_of_folders(tmp_path):
    assert numbers("3,1") == [3.0, 1.0]
    with pytest.raises(OptionError, match="--weights"):
        numbers("3;1")
    path = tmp_path / "recipe.yaml"
    path.write_text("base: p\ndata:\n  - {folder: a, weight: 3}\n  - {folder: b}\n")
    data = load_finetune(path).data
    assert (data.demonstrations, data.weights) == (("a", "b"), (3.0, 1.0))
    path.write_text("base: p\ndata: [{folder: a, wieght: 3}]\n")
    with pytest.raises(RecipeError, match="wieght"):
        load_finetune(path)
    for weights in ("[1]", "[1, 0]", "[1, .nan]", "[1, .inf]"):
        with pytest.raises(RecipeError):
            make_finetune({"base": "p", "data": {"demonstrations": ["a", "b"]}}, (f"data.weights={weights}",))


def test_a_mixed_training_resumes_in_the_middle_with_the_same_bits(good, small, tmp_path, monkeypatch, capsys):
    import vla_agent.training.loop.train_stage as loop

    data = [{"folder": str(good.dataset), "weight": 1}, {"folder": str(small), "weight": 3}]
    finetune(recipe(good, data), tmp_path / "whole")
    assert f"75.0% of the samples from {small}" in " ".join(capsys.readouterr().out.split())
    plain_flag, count = loop._stop_flag, iter(range(1000))

    class Once:
        def __enter__(self):
            return lambda: next(count) >= 8  # asked once a step: stops in the ninth

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(loop, "_stop_flag", Once)
    with pytest.raises(loop.Interrupted):
        finetune(recipe(good, data), tmp_path / "parts")
    monkeypatch.setattr(loop, "_stop_flag", plain_flag)
    with pytest.raises(RecipeError, match="another recipe"):
        finetune(recipe(good, data, "seed=1"), tmp_path / "parts", resume=True)
    finetune(recipe(good, data), tmp_path / "parts", resume=True)
    name = "adapter/adapter.safetensors"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    data = json.loads((tmp_path / "whole/policy/training.json").read_text())["data"]
    assert data["share"] == [0.25, 0.75] and len(data["sha256"]) == 2


def test_datasets_that_disagree_are_refused_before_training(good, tmp_path):
    contract = good.contract
    others = {
        "control_hz": dataclasses.replace(contract, control_hz=10.0),
        "cameras.order": dataclasses.replace(contract, cameras=contract.cameras[::-1]),
    }
    for key, other in others.items():
        folder = write_dataset(tmp_path / key, other, frames=6)
        for data in ([str(good.dataset), str(folder)], [str(folder)]):
            with pytest.raises(ContractError, match=key) as caught:
                finetune(recipe(good, {"demonstrations": data}), tmp_path / "run")
            assert caught.value.remedy
    slow = write_dataset(tmp_path / "slow", contract, frames=6, storage="images")
    (slow / dataset_schema.MANIFEST).unlink()
    info = json.loads((slow / dataset_schema.INFO).read_text())
    (slow / dataset_schema.INFO).write_text(json.dumps(info | {"fps": 10}))
    with pytest.raises(DatasetError, match=r"another rate than its contract[\s\S]*fps"):
        load_demonstrations((str(slow),), 8)
    assert not (tmp_path / "run").exists()


def test_demonstrations_without_annotations_can_be_learned_from(good, tmp_path):
    rng = np.random.default_rng(0)
    contract = good.contract
    columns = {
        name: rng.random((6, f["shape"][0])).astype(np.float32)
        for name, f in dataset_schema.vector_features(contract, annotations=False).items()
    }
    images = {c.name: rng.integers(0, 256, (6, c.height, c.width, 3), np.uint8) for c in contract.cameras}
    plain = write(tmp_path / "plain", contract, [encode(Episode("press it", columns, images), "video", 20)], "video")
    finetune(recipe(good, {"demonstrations": [str(plain)]}, "robust.augment.shift=2"), tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/tune.jsonl").read_text().splitlines()]
    assert rows[-1]["denoise"] > 0 and all(rows[-1][k] == 0 for k in ("map", "point", "seen", "locate"))
    with pytest.raises(DatasetError, match="lack columns"):
        load_demonstrations((str(plain),), 8)


def test_lora_by_default_trains_at_most_a_twentieth_of_the_shipped_policy():
    policy = load_policy("policies/tabletop-nano")
    attached = attach(policy, AdapterSettings())
    counts = attached.counts()
    assert 0.02 < counts["trained"] / counts["in_all"] <= 0.05, counts
    assert load_finetune("policies/finetune-lora.yaml").adapter == AdapterSettings()
    by_part = {part: sum(p.numel() for n, p in attached.trained().items() if part_of(n) == part) for part in PARTS}
    assert by_part["head"] > by_part["language"] > by_part["vision"] > 0
    modules = dict(policy.named_modules())
    for name in {n.split(".lora_")[0] for n in attached.names}:
        factors = sum(p.numel() for n, p in attached.trained().items() if n.startswith(f"{name}.lora_"))
        assert factors < modules[name].weight.numel(), f"{name}: more is trained than the layer holds"
    heavy = ("text.layers.0.self_attn", "fusion.0.linear1", "film.0.conv")
    names = " ".join(attached.names)
    assert all(n in names for n in (*heavy, "head.blocks.0.qkv", "head.blocks.3.mlp.2", "head.modulation"))


@pytest.mark.parametrize("method", METHODS)
def test_ranks_that_are_not_given_are_the_methods(method):
    adapter = AdapterSettings(method=method)
    assert adapter.language == adapter.head == (6 if method in ("lora", "rslora", "dora", "adalora") else 8)
    assert AdapterSettings(method=method, head=3).head == 3
