"""Several processes: the same losses as one, one that writes, and an end for all where one is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks.finetune.finetune_two_process import run, start
from benchmarks.inputs.badinput.good import Good
from vla_agent.errors import MemoryShortage, RecipeError
from vla_agent.finetuning.finetune_recipe import make_finetune
from vla_agent.finetuning.memory import memory_advice, require_space
from vla_agent.training.parallel.processes import Processes


def recipe(*changes):
    settings = {"base": "policies/tabletop-nano", "data": {"demonstrations": ["datasets/mine"]}}
    return make_finetune(settings, changes)


def test_two_processes_lose_as_much_as_one_with_the_same_batch():
    measured = run(("train.samples=80", "train.batch=4", "train.warmup_steps=0"), ("lora",))
    assert [row["weights"] for row in measured["rows"]] == ["whole", "sharded"]
    for row in measured["rows"]:
        assert row["steps"] == 20 and {"denoise", "map", "locate"} < row.keys()
    assert measured["value"] <= 1e-4


def children(process: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_killed_process_ends_the_others_with_a_typed_error_and_the_checkpoint_stays(tmp_path):
    good, out = Good(tmp_path / "good"), tmp_path / "run"
    assert good.policy and good.dataset
    endless = ("train.samples=4000000", "train.batch=4", "train.checkpoint_minutes=0.0001")
    launcher = start(good, out, endless, "whole")
    try:
        deadline = time.monotonic() + 600
        while not (out / "tune" / "progress.json").is_file() and time.monotonic() < deadline:
            assert launcher.poll() is None, launcher.communicate()[0]
            time.sleep(0.1)
        os.kill(children(launcher.pid)[-1], signal.SIGKILL)
        said = launcher.communicate(timeout=300)[0]
    finally:
        launcher.kill()
    assert launcher.returncode != 0
    assert "error: another process of this training has ended" in said and "remedy:" in said
    assert json.loads((out / "tune" / "progress.json").read_text())["step"] > 0
    assert not (out / "policy").exists()


def test_pieces_of_a_batch_draw_for_themselves_and_one_piece_as_before():
    processes = Processes(accumulate=3)
    draws = [int(generator.initial_seed()) for generator in processes.generators(7)]
    assert draws == [21, 22, 23]
    assert [g.initial_seed() for g in Processes().generators(7)] == [7]


def test_gradients_of_pieces_are_averaged():
    import torch

    layer = torch.nn.Linear(1, 1, bias=False)
    processes = Processes(accumulate=2)
    model = processes.prepare(layer)
    inputs = iter((torch.tensor([[1.0]]), torch.tensor([[3.0]])))
    losses = processes.backward(0, lambda _: {"out": model(next(inputs)).sum()})
    assert layer.weight.grad.item() == 2.0
    torch.testing.assert_close(losses["out"], 2 * layer.weight.item())


def test_what_does_not_fit_together_is_refused_before_training(tmp_path):
    from vla_agent.finetuning.recipe_fit import require_fit
    from vla_agent.policy.loading import load_policy

    policy = load_policy(Good(tmp_path).policy)
    for change, key in (
        ("train.accumulate=3", "train.batch"),
        ("train.checkpointing=true", "train.checkpointing"),
        ("train.trackers=[wandb]", "train.trackers"),
    ):
        mine = recipe(change)
        if key == "train.trackers" and __import__("importlib").util.find_spec("wandb"):
            continue
        with pytest.raises(RecipeError) as caught:
            require_fit(mine, policy, Processes(mine.train.accumulate))
        assert caught.value.key == key and caught.value.remedy


def test_a_lack_of_memory_names_batch_accumulation_and_checkpointing(tmp_path):
    import torch

    mine = recipe("train.batch=8")
    with pytest.raises(MemoryShortage) as caught, memory_advice(mine, Processes()):
        torch.empty(2**55)  # what the allocator really says
    said = str(caught.value)
    assert "8 samples at a time" in said
    for setting in ("train.accumulate=2", "train.checkpointing=true", "train.precision=bfloat16", "train.batch=4"):
        assert setting in caught.value.remedy
    with pytest.raises(RuntimeError, match="another fault"), memory_advice(mine, Processes()):
        raise RuntimeError("another fault")
    with pytest.raises(MemoryShortage, match="too little space"):
        require_space(tmp_path / "run", 10**15, 10**15)


def test_what_sharded_weights_cannot_do_is_refused(tmp_path, monkeypatch):
    from vla_agent.finetuning.recipe_fit import require_fit
    from vla_agent.policy.loading import load_policy

    policy, processes = load_policy(Good(tmp_path).policy), Processes()
    processes.sharded = True
    with pytest.raises(RecipeError, match="train differently from full ones"):
        require_fit(recipe("adapter.head=full"), policy, processes)
    for change in ("adapter.method=adalora", "robust.trust_region=0.1"):
        with pytest.raises(RecipeError) as caught:
            require_fit(recipe(change), policy, processes)
        assert caught.value.key == change.split("=")[0] and "train.sharded=false" in caught.value.remedy
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="train.sharded=true"):
        Processes()
