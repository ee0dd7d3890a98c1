"""Too little disk, refused before the training; too little memory, reported with the settings that need less."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vla_agent.errors import MemoryShortage
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.parallel.processes import Processes

_MARKS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory")


@contextmanager
def memory_advice(recipe: FineTune, processes: Processes) -> Iterator[None]:
    """Inside, a lack of memory becomes an error that says which settings need less.

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
            expected="a piece of the batch that fits, beside weights, activations and moments",
            found=f"train.batch={t.batch} over {processes.count} x train.accumulate={t.accumulate} pieces: "
            + (str(error).splitlines() or ["no memory"])[0],
            remedy="; or ".join(_smaller_settings(recipe, rows, processes)),
        ) from error


def _smaller_settings(recipe: FineTune, rows: int, processes: Processes) -> list[str]:
    """Settings that need less memory; those that change the training least come first."""
    t, settings = recipe.train, []
    if rows > 1:
        settings.append(f"--set train.accumulate={2 * t.accumulate} (the same batch, in smaller pieces)")
    if not t.checkpointing:
        settings.append("--set train.checkpointing=true (language models: activations are recomputed)")
    if t.precision == "float32":
        settings.append("--set train.precision=bfloat16")
    if t.draws > 1:
        settings.append("--set train.draws=1 (fewer noise draws a sample)")
    if t.batch > 2:
        settings.append(f"--set train.batch={max(2, t.batch // 2)} (another training: less per step)")
    if processes.count > 1 and not processes.sharded:
        settings.append("--set train.sharded=true (weights and moments sharded over the processes)")
    if recipe.adapter.method == "full":
        settings.append("--adapter lora (no moments of the base's weights)")
    return settings or ["a machine with more memory"]


def recompute_activations(policy: VLAPolicy) -> None:
    """Gradient checkpointing: the backbone recomputes its activations in the backward pass instead of keeping them."""
    model = policy.backbone.model
    # transformers has renamed the method, and will drop the old name in version 6
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def require_space(folder: Path, trained: int, in_all: int) -> None:
    """Raise where the disk cannot hold the files of a training.

    Args:
        trained, in_all: parameters of the policy.

    Raises:
        MemoryShortage: naming what is needed and what is free.
    """
    # fp32: two checkpoints of weights, average and two moments; adapter; two copies of the merged policy
    needed = 4 * (2 * 4 * trained + trained + 2 * in_all) + 50_000_000
    existing = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise MemoryShortage(
            "the disk has too little space for checkpoints and the policy",
            file=folder,
            expected=f"{needed / 1e9:.1f} GB",
            found=f"{free / 1e9:.1f} GB free",
            remedy="free some space, or give a folder on another disk with -o",
        )
