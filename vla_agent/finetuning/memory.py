"""Too little memory or disk: said before the training where it can be told, and with advice where it shows later."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vla_agent.errors import MemoryShortage
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.distributed import Processes

_MARKS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")


@contextmanager
def advice(recipe: FineTune, processes: Processes) -> Iterator[None]:
    """Inside, a lack of memory ends with what can be changed about it.

    Raises:
        MemoryShortage: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError, on a CPU it is a plain one
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not short and not any(mark in str(error).lower() for mark in _MARKS):
            raise
        t = recipe.train
        rows = t.batch // processes.pieces
        raise MemoryShortage(
            f"memory ran out on {processes.device}, with {rows} samples at a time",
            key="train.batch, train.accumulate",
            expected="a piece of the batch that fits; all other weights, activations and moments with it",
            found=f"train.batch={t.batch} over {processes.count} x train.accumulate={t.accumulate} pieces: "
            + (str(error).splitlines() or ["no memory"])[0],
            remedy="; or ".join(_ways(recipe, rows, processes)),
        ) from error


def _ways(recipe: FineTune, rows: int, processes: Processes) -> list[str]:
    """What needs less memory, what changes the training least first."""
    t, ways = recipe.train, []
    if rows > 1:
        ways.append(f"--set train.accumulate={2 * t.accumulate} (the same batch, in smaller pieces)")
    if not t.checkpointing:
        ways.append("--set train.checkpointing=true (language models: activations are computed twice)")
    if t.precision == "float32":
        ways.append("--set train.precision=bfloat16")
    if t.draws > 1:
        ways.append("--set train.draws=1 (fewer noise draws a sample)")
    if t.batch > 2:
        ways.append(f"--set train.batch={max(2, t.batch // 2)} (another training: less per step)")
    if processes.count > 1 and not processes.sharded:
        ways.append("--set train.sharded=true (weights and moments shared out over the processes)")
    if recipe.adapter.method == "full":
        ways.append("--adapter lora (no moments of the base's weights)")
    return ways or ["a machine with more memory"]


def recompute_activations(policy: VLAPolicy) -> None:
    """Let the backbone compute its layers' activations again in the backward pass rather than keep them."""
    model = policy.backbone.model
    # transformers has renamed it, and will drop the old name in version 6
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def require_space(folder: Path, trained: int, in_all: int) -> None:
    """Raise where the disk cannot hold what a training writes.

    Args:
        trained, in_all: parameters of the policy.

    Raises:
        MemoryShortage: naming what is needed and what is free.
    """
    # fp32: weights, average and two moments, while the checkpoint before lies beside them; adapter; merged policy aside
    needed = 4 * (2 * 4 * trained + trained + 2 * in_all) + 50_000_000
    there = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise MemoryShortage(
            "the disk has too little room for checkpoints and the policy",
            file=folder,
            expected=f"{needed / 1e9:.1f} GB",
            found=f"{free / 1e9:.1f} GB free",
            remedy="make room, or name another disk with -o",
        )
