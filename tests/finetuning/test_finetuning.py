"""Fine-tuning: adapters on a real (small) policy, merged and taken out, saved, refused, resumed."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch

from benchmarks.finetune.finetune_cost import vlm_policy as make_vlm_policy
from benchmarks.inputs.badinput.good_inputs import Good
from benchmarks.shared.random_vlms import SMALL
from vla_agent.adapters.adapter_folder import load_adapted, load_merge, save_adapter
from vla_agent.adapters.adapter_settings import METHODS, AdapterSettings
from vla_agent.adapters.adapter_targets import PARTS, part_of
from vla_agent.adapters.attach import attach
from vla_agent.adapters.merging import Merge, merged_state
from vla_agent.errors import CheckpointError, ContractError, RecipeError
from vla_agent.finetuning.finetune_recipe import load_finetune, make_finetune
from vla_agent.finetuning.quantised_base import quantise_frozen
from vla_agent.finetuning.tune import finetune
from vla_agent.policy.loading import load_policy

ADAPTERS = tuple(m for m in METHODS if m not in ("full", "head"))


def wake_head(folder):
    """A head begins with zeros, past which nothing could be seen."""
    policy = load_policy(folder)
    with torch.no_grad():
        for number, parameter in enumerate(policy.head.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.1)
    policy.save(folder)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    good = Good(tmp_path_factory.mktemp("finetuning"))
    wake_head(good.policy)
    assert good.dataset
    return good


@pytest.fixture(scope="module")
def base(good):
    return load_policy(good.policy)


@pytest.fixture(scope="module")
def vlm_policy(good):
    return wake_head(make_vlm_policy(good, SMALL["smolvlm"]))


def recipe(good, *changes, method="lora"):
    settings = {"base": str(good.policy), "data": {"demonstrations": [str(good.dataset)]}}
    small = ("train.samples=16", "train.batch=4", "train.warmup_steps=0", f"adapter.method={method}")
    return make_finetune(settings, (*small, *changes))


@pytest.fixture(scope="module")
def tuned(good, tmp_path_factory):
    """The folder of a finished training by `recipe(good)`; copied to be changed."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    finetune(recipe(good), out)
    return out


@pytest.fixture(scope="module")
def plainly_tuned(good, tmp_path_factory):
    """The policy without any robust option."""
    return load_policy(finetune(recipe(good, "train.ema=0"), tmp_path_factory.mktemp("plain") / "run"))


def answer(policy, good):
    """hidden (1, N, C) of one observation, and a chunk (T, A)."""
    observation = good.observation()
    policy.reset("press the red button", seed=3)
    return policy.act(observation)


def disturb(attached, size=0.05):
    with torch.no_grad():
        for number, parameter in enumerate(attached.trained().values()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * size)


def same_bits(a, b):
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in mine.items())


@pytest.mark.parametrize("method", ADAPTERS)
def test_each_adapter_acts_merges_exactly_and_comes_out_bit_for_bit(method, base, good):
    adapted, plain = copy.deepcopy(base), copy.deepcopy(base)
    attached = attach(adapted, AdapterSettings(method=method, vision=4, language=4, head=4), steps=100)
    torch.testing.assert_close(answer(adapted, good), answer(base, good), rtol=0, atol=1e-4)
    counts = attached.counts()
    assert 0 < counts["trained"] < counts["in_all"] == sum(base.parameter_counts().values())
    parts = {"head": 0, "text": 0}
    for name in attached.names:
        parts["head"] += name.startswith("head.")
        parts["text"] += name.startswith("backbone.model.text.layers.0.self_attn.q")
    assert all(parts.values()), "head and attention are adapted"
    disturb(attached)
    adapted_answer = answer(adapted, good)
    before = {k: v.clone() for k, v in adapted.state_dict().items()}
    merge = Merge(plain, merged_state(attached))
    assert {part_of(name) for name in merge.names} == set(PARTS), "no part's adapters are switched off"
    assert all(torch.equal(v, before[k]) for k, v in adapted.state_dict().items()), "merging left the adapters alone"
    merge.apply()
    torch.testing.assert_close(answer(plain, good), adapted_answer, rtol=0, atol=1e-4)
    merged = copy.deepcopy(plain)
    assert not same_bits(merged, base) and abs(answer(merged, good) - answer(base, good)).max() > 1e-4
    merge.undo()
    assert same_bits(plain, base)
    merge.apply()
    assert same_bits(plain, merged)


def test_an_adapter_in_attention_is_not_skipped_by_the_fused_kernel(base):
    """In evaluation a transformer layer hands its plain weights to one kernel; an adapter would not count."""
    adapted = copy.deepcopy(base).eval()
    attached = attach(adapted, AdapterSettings(method="lora", vision=0, language=4, head=0))
    only = {n: p for n, p in attached.trained().items() if "fusion.0.self_attn.out" in n or "fusion.0.linear1" in n}
    assert len(only) == 4
    layer, x = adapted.backbone.model.fusion[0], torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = layer(x)
    with torch.no_grad():
        for parameter in only.values():
            parameter.fill_(0.1)
    with torch.inference_mode():
        assert (layer(x) - before).abs().max() > 0.01
        torch.testing.assert_close(before, base.backbone.model.fusion[0](x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "adalora", "vera", "nola", "full"])
def test_a_folder_loads_as_the_tuned_policy_on_its_own_base_alone(method, base, good, tmp_path):
    attached = attach(copy.deepcopy(base), AdapterSettings(method=method, vision=2, language=2, head=2))
    disturb(attached)
    save_adapter(attached, str(good.policy), tmp_path / "adapter")
    tuned = load_policy(tmp_path / "adapter")
    assert all(torch.equal(v, tuned.state_dict()[k]) for k, v in merged_state(attached).items())
    merge = load_merge(tmp_path / "adapter")
    merge.apply()
    assert same_bits(merge.policy, tuned)
    merge.undo()
    assert same_bits(merge.policy, base)

    other = shutil.copytree(good.policy, tmp_path / "other")
    description = json.loads((other / "policy.json").read_text())
    (other / "policy.json").write_text(json.dumps({**description, "execute": 4}))
    with pytest.raises(CheckpointError, match="base is missing or is a different policy"):
        load_adapted(tmp_path / "adapter", other)


def test_a_damaged_adapter_is_refused(base, good, tmp_path):
    attached = attach(copy.deepcopy(base), AdapterSettings())
    save_adapter(attached, str(good.policy), tmp_path / "adapter")
    weights = tmp_path / "adapter/adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\1")
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors"):
        load_policy(tmp_path / "adapter")
    (tmp_path / "adapter/adapter.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_policy(tmp_path / "adapter")


def test_the_adapter_of_a_killed_writer_loads(base, good, tmp_path):
    """Killed between two renames, or while a new one was being written: the old one is whole."""
    attached = attach(copy.deepcopy(base), AdapterSettings())
    disturb(attached)
    folder = tmp_path / "adapter"
    save_adapter(attached, str(good.policy), folder)
    whole = load_adapted(folder)
    folder.rename(tmp_path / ".adapter.old")
    (tmp_path / ".adapter.new").mkdir()
    (tmp_path / ".adapter.new/adapter.safetensors").write_bytes(b"half")
    assert same_bits(load_adapted(folder), whole)
    save_adapter(attached, str(good.policy), folder)
    assert same_bits(load_adapted(folder), whole) and {f.name for f in tmp_path.iterdir()} == {"adapter"}


def test_an_adapter_that_cannot_be_written_leaves_the_old_one(base, good, tmp_path):
    attached = attach(copy.deepcopy(base), AdapterSettings())
    save_adapter(attached, str(good.policy), tmp_path / "adapter")
    whole = load_adapted(tmp_path / "adapter")
    disturb(attached)
    with pytest.raises(TypeError):
        save_adapter(attached, str(good.policy), tmp_path / "adapter", more={"not": {"JSON"}})
    assert same_bits(load_adapted(tmp_path / "adapter"), whole)


def test_finetuning_trains_only_the_adapter_and_leaves_both_folders(base, good, tmp_path, capsys):
    policy = finetune(recipe(good, "robust.wordings=true", "robust.augment.shift=2"), tmp_path / "run")
    shown = " ".join(capsys.readouterr().out.split())
    merged, adapted = load_policy(policy), load_policy(tmp_path / "run/adapter")
    assert same_bits(merged, adapted)
    description = json.loads((tmp_path / "run/adapter/adapter.json").read_text())
    counts = description["parameters"]
    assert f"{counts['trained']:,} parameters trained" in shown and f"{counts['in_all']:,} in all" in shown
    assert json.loads((policy / "training.json").read_text())["parameters"] == counts
    changed = {k for k, v in merged.state_dict().items() if not torch.equal(v, base.state_dict()[k])}
    assert any(k.startswith("head.") for k in changed) and any(k.startswith("backbone.") for k in changed)
    frozen = [k for k in base.state_dict() if "running_mean" in k or "normaliser" in k or "decoder" in k]
    assert frozen and not changed & set(frozen)
    size = (tmp_path / "run/adapter/adapter.safetensors").stat().st_size
    assert size < 4 * counts["trained"] + 30_000, "the adapter's folder holds what was trained and nothing more"


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_a_resumed_finetuning_ends_with_the_same_bits_and_the_same_curve(method, good, tmp_path, monkeypatch):
    import vla_agent.training.loop.train_stage as loop

    mine = recipe(good, "train.samples=40", "robust.augment.shift=2", method=method)
    finetune(mine, tmp_path / "whole")
    plain_flag, count = loop._stop_flag, iter(range(1000))

    class Once:
        def __enter__(self):
            return lambda: next(count) >= 4  # asked once a step: stops in the fifth

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(loop, "_stop_flag", Once)
    with pytest.raises(loop.Interrupted):
        finetune(mine, tmp_path / "parts")
    monkeypatch.setattr(loop, "_stop_flag", plain_flag)
    # killed between two renames: the checkpoint lies aside; and a line of the log was logged after it
    (tmp_path / "parts/tune").rename(tmp_path / "parts/.tune.old")
    (tmp_path / "parts/.tune.new").mkdir()  # a checkpoint that was being written when another kill came
    with (tmp_path / "parts/tune.jsonl").open("a") as log:
        log.write('{"step": 7, "samples": 32, "seconds": 1.0, "denoise": 99.0}\n{"step": 8, "sam')
    finetune(mine, tmp_path / "parts", resume=True)
    for name in ("adapter/adapter.safetensors", "policy/head.safetensors", "policy/backbone/model.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    curves = [
        [{k: v for k, v in json.loads(row).items() if k != "seconds"} for row in file.read_text().splitlines()]
        for file in (tmp_path / "whole/tune.jsonl", tmp_path / "parts/tune.jsonl")
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    "changes",
    [("robust.consistency=0.5",), ("robust.trust_region=0.1",), ("robust.trust_region=0.1", "robust.consistency=0.5")],
)
def test_robust_options_change_the_result(changes, good, plainly_tuned, tmp_path):
    robust = load_policy(finetune(recipe(good, "train.ema=0", *changes), tmp_path / "run"))
    assert not same_bits(robust, plainly_tuned)


def test_half_of_the_tuned_weights_lies_halfway(base, good, tuned, tmp_path):
    whole = load_policy(tuned / "policy").state_dict()
    half = load_policy(finetune(recipe(good, "robust.wise=0.5"), tmp_path / "half")).state_dict()
    key = "head.blocks.0.qkv.weight"
    torch.testing.assert_close(half[key], (whole[key] + base.state_dict()[key]) / 2)
    assert same_bits(load_policy(finetune(recipe(good, "robust.wise=0"), tmp_path / "none")), base)


def test_head_only_and_from_scratch(base, good, tmp_path):
    head = load_policy(finetune(recipe(good, method="head"), tmp_path / "head"))
    changed = {k for k, v in head.state_dict().items() if not torch.equal(v, base.state_dict()[k])}
    assert changed and all(k.startswith("head.") for k in changed)
    scratch = load_policy(finetune(recipe(good, "from_scratch=true", method="full"), tmp_path / "scratch"))
    assert not torch.equal(
        scratch.state_dict()["backbone.model.patch.weight"], base.state_dict()["backbone.model.patch.weight"]
    )
    assert not (tmp_path / "scratch/adapter").exists()
    with pytest.raises(RecipeError, match="from_scratch"):
        finetune(recipe(good, "from_scratch=true"), tmp_path / "wrong")


def test_wrong_input_is_refused_before_anything_is_written(good, tmp_path):
    nothing = ("adapter.vision=0", "adapter.language=0", "adapter.head=0")
    with pytest.raises(RecipeError, match="nothing is left to train"):
        finetune(recipe(good, *nothing), tmp_path / "run")
    slower = shutil.copytree(good.policy, tmp_path / "slower")
    description = json.loads((slower / "policy.json").read_text())
    description["contract"]["control_hz"] = 10
    (slower / "policy.json").write_text(json.dumps(description))
    with pytest.raises(ContractError, match="control_hz"):
        finetune(recipe(good, f"base={slower}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match="did you mean learning_rate"):
        recipe(good, "train.learnin_rate=1")


def test_a_pretrained_vision_language_model_is_finetuned_too_and_checkpointing_changes_no_loss(
    vlm_policy, good, tmp_path
):
    small = ("adapter.vision=2", "adapter.language=2", "adapter.head=2", "train.samples=8", f"base={vlm_policy}")
    merged = load_policy(finetune(recipe(good, *small), tmp_path / "run"))
    assert same_bits(merged, load_policy(tmp_path / "run/adapter"))
    before = load_policy(vlm_policy).state_dict()
    assert {part_of(k) for k, v in merged.state_dict().items() if not torch.equal(v, before[k])} == set(PARTS)
    finetune(recipe(good, *small, "train.checkpointing=true"), tmp_path / "twice")
    last = [json.loads((tmp_path / n / "tune.jsonl").read_text().splitlines()[-1]) for n in ("run", "twice")]
    assert last[0]["denoise"] == pytest.approx(last[1]["denoise"], rel=1e-5)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("lora", "adalora", "full", "head")])
def test_every_other_method_is_trained_from_images_to_a_policy(method, good, base, tmp_path):
    tuned = load_policy(finetune(recipe(good, "train.samples=8", "train.ema=0", method=method), tmp_path / "run"))
    before, after = base.state_dict(), tuned.state_dict()
    changed = [k for k, v in after.items() if not torch.equal(v, before[k])]
    assert changed and all(torch.isfinite(after[k]).all() for k in changed)


def test_dora_is_refused_on_layers_that_were_never_trained(good):
    fresh = load_policy(good.policy)
    torch.nn.init.zeros_(fresh.head.blocks[0].cross_out.weight)
    with pytest.raises(RecipeError) as caught:
        attach(fresh, recipe(good, "adapter.vision=0", "adapter.language=0", method="dora").adapter)
    assert "head.blocks.0.cross_out" in caught.value.found and "adapter.head=full" in caught.value.remedy


def test_adapters_are_trained_on_a_frozen_base_of_8_bits(vlm_policy, good, tmp_path):
    """QLoRA: nearly the same loss, trained adapters, and what is saved is merged into the base as it lies on disk."""
    pytest.importorskip("torchao")
    small = ("adapter.vision=2", "adapter.language=2", "adapter.head=2", "train.samples=8", f"base={vlm_policy}")
    attached = attach(load_policy(vlm_policy), recipe(good, *small).adapter)
    quantise_frozen(attached.policy, "int8")
    kinds = {n: type(p).__name__ for n, p in attached.policy.named_parameters() if n.endswith("weight")}
    whole = [n for n, kind in kinds.items() if kind == "Parameter"]
    assert len(whole) < len(kinds) and all(kinds[n] == "Parameter" for n in attached.trained() if n in kinds)
    merged = load_policy(finetune(recipe(good, *small, "train.base_weights=int8"), tmp_path / "run"))
    assert same_bits(merged, load_policy(tmp_path / "run/adapter"))
    before = load_policy(vlm_policy).state_dict()
    assert {part_of(k) for k, v in merged.state_dict().items() if not torch.equal(v, before[k])} == set(PARTS)
    finetune(recipe(good, *small), tmp_path / "wide")
    last = [json.loads((tmp_path / n / "tune.jsonl").read_text().splitlines()[-1]) for n in ("run", "wide")]
    assert last[0]["denoise"] != last[1]["denoise"]
    assert last[0]["denoise"] == pytest.approx(last[1]["denoise"], rel=0.02)
    with pytest.raises(RecipeError, match="too small for quantised"):
        finetune(recipe(good, "train.base_weights=int8"), tmp_path / "nano")


def test_mixed_precision_trains_and_keeps_fp32_weights(good, tuned, tmp_path):
    policy = load_policy(finetune(recipe(good, "train.precision=bfloat16"), tmp_path / "run"))
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    assert not same_bits(policy, load_policy(tuned / "policy"))
    first = [json.loads((run / "tune.jsonl").read_text().splitlines()[0]) for run in (tmp_path / "run", tuned)]
    assert first[0]["denoise"] == pytest.approx(first[1]["denoise"], rel=0.05)


def test_a_comparison_may_be_added_to_a_finished_training(good, tuned, tmp_path):
    shutil.copytree(tuned, tmp_path / "run")
    finetune(recipe(good, "compare.episodes=5"), tmp_path / "run", resume=True)
    with pytest.raises(RecipeError, match="another recipe"):
        finetune(recipe(good, "seed=1"), tmp_path / "run", resume=True)


def test_a_finished_training_goes_on_with_more_samples_only(good, tuned, tmp_path, capsys):
    shutil.copytree(tuned, tmp_path / "run")
    short = load_policy(tmp_path / "run/policy")
    policy = load_policy(finetune(recipe(good, "train.samples=32"), tmp_path / "run", resume=True))
    assert "16 before, 32 now" in capsys.readouterr().out and not same_bits(policy, short)
    steps = [json.loads(line)["samples"] for line in (tmp_path / "run/tune.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 32
    assert json.loads((tmp_path / "run/policy/training.json").read_text())["samples"] == 32
    for key, changes in (
        ("train.samples", ("train.samples=16",)),
        ("train.weight_decay", ("train.samples=32", "train.weight_decay=0.5")),
        ("seed", ("train.samples=64", "seed=1")),
    ):
        with pytest.raises(RecipeError, match="another recipe") as caught:
            finetune(recipe(good, *changes), tmp_path / "run", resume=True)
        assert caught.value.key == key


def test_a_run_continues_with_its_number_of_pieces_only(good, tuned, tmp_path):
    shutil.copytree(tuned, tmp_path / "run")
    progress = tmp_path / "run/tune/progress.json"
    kept = json.loads(progress.read_text())
    assert kept["pieces"] == 1
    progress.write_text(json.dumps({**kept, "step": 2, "pieces": 2}))
    with pytest.raises(RecipeError, match="another number of pieces"):
        finetune(recipe(good), tmp_path / "run", resume=True)


def test_the_shipped_recipe_is_valid():
    assert load_finetune("policies/finetune-lora.yaml").adapter.method == "lora"
