"""A stage's checkpoint: three safetensors files and progress.json in one folder, written whole or not at all.

Nothing is pickled.  Sharded weights are saved as full tensors, so that checkpoints do not depend on the processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vla_agent.errors import RecipeError
from vla_agent.files.write_aside import folder_aside, recover
from vla_agent.training.loop.optimisation import Optimisation, stage_steps
from vla_agent.training.loop.stage_run import Progress, StageRun
from vla_agent.training.parallel.sharding import full_tensors, sharded_like
from vla_agent.training.recipe import Stage

PROGRESS = "progress.json"


def last_checkpoint(folder: Path, name: str) -> Path | None:
    """Where a stage's last whole checkpoint lies, also after a killed run; None where there is none.

    Of several processes the main one must call it first: it may move a folder back to its place.
    """
    recover(folder / name)
    return folder / name if (folder / name / PROGRESS).is_file() else None


def stage_done(folder: Path, name: str, stage: Stage) -> bool:
    """Whether the stage's last checkpoint is that of its last step."""
    checkpoint = last_checkpoint(folder, name)
    return checkpoint is not None and json.loads((checkpoint / PROGRESS).read_text())["step"] >= stage_steps(stage)


def load_ema(folder: Path, name: str, model: nn.Module) -> None:
    """Put a stage's averaged weights into the model."""
    model.load_state_dict(load_file((last_checkpoint(folder, name) or folder / name) / "ema.safetensors"))


def save_checkpoint(run: StageRun, optimisation: Optimisation, progress: Progress, write: bool) -> None:
    """Save weights, average, moments and progress.

    Args:
        write: whether this process writes.  All processes must call, since sharded tensors are gathered from all.
    """
    files = {
        "model": full_tensors(optimisation.model.state_dict()),
        "ema": full_tensors(optimisation.ema),
        "optimiser": full_tensors(optimisation.moments()),
    }
    if not write:
        return
    with folder_aside(run.checkpoint) as aside:
        for name, tensors in files.items():
            save_file({k: v.contiguous() for k, v in tensors.items()}, aside / f"{name}.safetensors")
        (aside / PROGRESS).write_text(json.dumps(asdict(progress)))


def restore(checkpoint: Path, optimisation: Optimisation, pieces: int) -> Progress:
    """Put a checkpoint into model, average and optimiser; how far it had come.

    Raises:
        RecipeError: its batch was computed in another number of ``pieces``.
    """
    progress = Progress(**json.loads((checkpoint / PROGRESS).read_text()))
    if progress.pieces != pieces:
        raise RecipeError(
            "the training was started with its batch in another number of pieces: the losses would differ from here on",
            file=checkpoint / PROGRESS,
            key="processes x train.accumulate",
            expected=progress.pieces,
            found=pieces,
            remedy="start as many processes as before",
        )
    state = optimisation.model.state_dict()
    weights = load_file(checkpoint / "model.safetensors").items()
    optimisation.model.load_state_dict({k: sharded_like(state[k], v) if k in state else v for k, v in weights})
    for key, value in load_file(checkpoint / "ema.safetensors").items():
        optimisation.ema[key].copy_(sharded_like(optimisation.ema[key], value))
    _restore_moments(checkpoint, optimisation)
    return progress


def _restore_moments(checkpoint: Path, optimisation: Optimisation) -> None:
    optimiser = optimisation.optimiser
    for key, value in load_file(checkpoint / "optimiser.safetensors").items():
        number, name = key.split(".", 1)
        parameter = optimisation.parameters[int(number)]
        if value.shape == parameter.shape:
            # in the parameter's memory format: another one takes another code path, and the last bits differ
            value = torch.empty_like(parameter).copy_(sharded_like(parameter, value))
        if optimiser.defaults["fused"]:
            value = value.to(parameter.device)
        optimiser.state[parameter][name] = value
