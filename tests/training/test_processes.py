"""Several processes: the same losses as one, one that writes, and an end for all where one is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import forked_program
import pytest

from benchmarks.finetune.finetune_two_process import curve, differences, start
from benchmarks.inputs.badinput.good_inputs import Good
from vla_agent.errors import MemoryShortage, RecipeError
from vla_agent.finetuning.finetune_recipe import make_finetune
from vla_agent.finetuning.memory import memory_advice, require_space
from vla_agent.finetuning.tune import finetune
from vla_agent.training.parallel.processes import Processes

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    good = Good(tmp_path_factory.mktemp("processes"))
    assert good.policy and good.dataset
    return good


def recipe(*changes, base="policies/tabletop-nano", data="datasets/mine"):
    return make_finetune({"base": str(base), "data": {"demonstrations": [str(data)]}}, changes)


def run_rank(rank, port, recipe, out):
    """One of two processes, with the environment that a launcher gives it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    finetune(recipe, out)


def train_in_two_processes(recipe, out):
    """As a launcher does, but from a server that has imported the libraries once."""
    context = forked_program.forks()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [context.Process(target=run_rank, args=(rank, port, recipe, out)) for rank in range(2)]
    try:
        for process in pair:
            process.start()
        for process in pair:
            process.join(timeout=300)
        assert [process.exitcode for process in pair] == [0, 0]
    finally:
        for process in pair:
            process.kill()
    return curve(out)


def test_two_processes_have_the_losses_of_one_with_the_same_batch(good, tmp_path):
    settings = ("train.samples=32", "train.batch=4", "train.warmup_steps=0")
    together = recipe(*settings, base=good.policy, data=good.dataset)
    finetune(recipe(*settings, "train.accumulate=2", base=good.policy, data=good.dataset), tmp_path / "one")
    one = curve(tmp_path / "one")
    assert one[-1]["step"] == 7 and {"denoise", "map", "locate"} < one[0].keys()
    for sharded in ("false", "true"):
        changed = together.model_copy(
            update={"train": together.train.model_copy(update={"sharded": sharded == "true"})}
        )
        losses = differences(one, train_in_two_processes(changed, tmp_path / sharded))
        assert max(losses.values()) <= TOLERANCE, (sharded, losses)


def children(process: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_killed_process_ends_the_others_with_a_typed_error_and_the_checkpoint_stays(good, tmp_path):
    """The launcher is the real one: its first losses are those of one process, too."""
    out, one = tmp_path / "run", tmp_path / "one"
    first = ("train.samples=4", "train.batch=4", "train.accumulate=2")
    finetune(recipe(*first, base=good.policy, data=good.dataset), one)
    endless = ("train.samples=4000000", "train.batch=4", "train.checkpoint_minutes=0.0001")
    launcher = start(good, out, endless, "whole")
    try:
        deadline = time.monotonic() + 600
        while not (out / "tune" / "progress.json").is_file() and time.monotonic() < deadline:
            assert launcher.poll() is None, launcher.communicate()[0]
            time.sleep(0.1)
        os.kill(children(launcher.pid)[-1], signal.SIGKILL)
        output = launcher.communicate(timeout=300)[0]
    finally:
        launcher.kill()
    assert launcher.returncode != 0
    assert "error: another process of this training has ended" in output and "remedy:" in output
    assert json.loads((out / "tune" / "progress.json").read_text())["step"] > 0
    assert not (out / "policy").exists()
    assert max(differences(curve(one), curve(out)[:1]).values()) <= TOLERANCE


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


def test_what_does_not_fit_together_is_refused_before_training(good):
    from vla_agent.finetuning.recipe_fit import require_fit
    from vla_agent.policy.loading import load_policy

    policy = load_policy(good.policy)
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
        torch.empty(2**55)  # the real message of the allocator
    assert "8 samples at a time" in str(caught.value)
    for setting in ("train.accumulate=2", "train.checkpointing=true", "train.precision=bfloat16", "train.batch=4"):
        assert setting in caught.value.remedy
    with pytest.raises(RuntimeError, match="another fault"), memory_advice(mine, Processes()):
        raise RuntimeError("another fault")
    with pytest.raises(MemoryShortage, match="too little space"):
        require_space(tmp_path / "run", 10**15, 10**15)


def test_what_sharded_weights_cannot_do_is_refused(good, monkeypatch):
    from vla_agent.finetuning.recipe_fit import require_fit
    from vla_agent.policy.loading import load_policy

    policy, processes = load_policy(good.policy), Processes()
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
