"""One training loop for all stages: AdamW, cosine schedule, EMA, progress, TensorBoard, checkpoints, exact resume.

A checkpoint is two safetensors files and a JSON file in one folder, written aside and renamed; nothing is pickled.
Batches are drawn from generators seeded by (seed, step), so that a resumed run sees what the uninterrupted one would.
Several processes (see `vla_agent.training.distributed`) take the same steps; the main one alone writes.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from vla_agent.errors import DivergenceError, RecipeError
from vla_agent.training.distributed import Processes, alone
from vla_agent.training.recipe import Stage
from vla_agent.training.sharding import like, whole

Losses = dict[str, Tensor]


class Interrupted(Exception):
    """The run was interrupted; its checkpoint is whole and ``--resume`` goes on from it."""


def train_stage(
    name: str,
    model: nn.Module,
    step_losses: Callable[[torch.Generator], Losses],
    stage: Stage,
    seed: int,
    folder: Path,
    *,
    resume: bool,
    after_step: Callable[[int], None] | None = None,
    processes: Processes | None = None,
    watch: Sequence[Callable[[dict[str, float], int], None]] = (),
) -> None:
    """Train ``model`` in place and leave its EMA weights in it.

    Args:
        step_losses: draws a batch with the generator and returns named losses; their sum is minimised.
        after_step: called with the step's number after each step of the optimiser, while the gradients are there.
        folder: checkpoints go to ``folder/name``, the log to ``folder/name.jsonl``, TensorBoard's to ``tensorboard``.
        processes: those that train together; ``step_losses`` then draws one piece of the batch.  Left out: this one.
        watch: called with the smoothed losses and the step's number wherever the log gets a line.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written first.
        DivergenceError: a loss or the gradients are no numbers any more; the last checkpoint is from before that.
        ProcessError: another process has ended.
    """
    many = processes or alone(name)
    steps = max(1, stage.samples // stage.batch)
    keep, log_file = folder / name, folder / f"{name}.jsonl"
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if p.ndim > 1], "weight_decay": stage.weight_decay},
            {"params": [p for n, p in named if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=stage.learning_rate,
        betas=(0.9, 0.98),
        fused=torch.cuda.is_available() or None,
    )
    params = [p for group in optimiser.param_groups for p in group["params"]]
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    first, spent = 0, 0.0
    running: dict[str, float] = {}
    if resume and (whole := whole_checkpoint(folder, name)):
        first, spent, running = _restore(whole, model, ema, optimiser, params, many.pieces)
    if many.main and first:
        _forget_after(log_file, first)
    elif many.main and log_file.exists():
        log_file.unlink()
    writer = SummaryWriter(str(folder / "tensorboard" / name)) if many.main else None
    begun = saved = time.monotonic()
    with many.together(), _stop_flag() as asked, writer or nullcontext(), _bar(many.main) as progress:
        task = progress.add_task(name, total=steps, completed=first, rate="", losses="")
        model.train()
        for step in range(first, steps):
            warm = min(1.0, (step + 1) / max(1, stage.warmup_steps))
            for group in optimiser.param_groups:
                group["lr"] = (
                    stage.learning_rate * warm * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
                )
            optimiser.zero_grad(set_to_none=True)
            losses = many.backward(seed * 1_000_003 + step, step_losses)
            _require_numbers(name, step, keep, losses | {"length of the gradients": _clip(params)})
            optimiser.step()
            if after_step:
                after_step(step)
            _update_ema(ema, model, min(stage.ema, (1 + step) / (10 + step)))
            now = time.monotonic()
            due = many.main and now - saved > 60 * stage.checkpoint_minutes
            losses, (stopped, due) = many.average(losses, asked(), due)
            for key, value in losses.items():
                running[key] = 0.95 * running.get(key, value) + 0.05 * value
            if writer and (step % 20 == 0 or step == steps - 1):
                rate = (step + 1 - first) * stage.batch / (now - begun)
                shown = " ".join(f"{k} {v:.3f}" for k, v in running.items())
                progress.update(task, completed=step + 1, rate=f"{rate:.0f} samples/s", losses=shown)
                row = {
                    "step": step,
                    "samples": (step + 1) * stage.batch,
                    "seconds": round(spent + now - begun, 1),
                    **running,
                }
                with log_file.open("a") as log:
                    log.write(json.dumps(row) + "\n")
                for key, value in running.items():
                    writer.add_scalar(f"{name}/{key}", value, step)
                for tell in watch:
                    tell({f"{name}/{key}": value for key, value in running.items()}, step)
            if stopped or due or step == steps - 1:
                state = _state(model, ema, optimiser, params)
                if many.main:
                    _save(keep, state, (step + 1, spent + now - begun, running, many.pieces))
                saved = now
            if stopped and step < steps - 1:
                raise Interrupted(f"{name}: stopped after {step + 1} of {steps} steps")
    model.load_state_dict(ema)


def _clip(params: list[nn.Parameter]) -> float:
    """Cut the gradients to length 1 in all; the length that they had."""
    return whole({"": nn.utils.clip_grad_norm_(params, 1.0)})[""].item()


def _require_numbers(name: str, step: int, keep: Path, values: dict[str, float]) -> None:
    wrong = {key: value for key, value in values.items() if not math.isfinite(value)}
    if wrong:
        raise DivergenceError(
            "the training has diverged",
            file=keep,
            key=f"{name}, step {step}",
            expected="finite losses and gradients",
            found=", ".join(f"{key} {value}" for key, value in wrong.items()),
            remedy="a lower learning rate or more warm-up steps, in a new folder; the last checkpoint is from before",
        )


def stage_done(folder: Path, name: str, stage: Stage) -> bool:
    """Whether the stage's last checkpoint is that of its last step."""
    whole = whole_checkpoint(folder, name)
    if whole is None:
        return False
    return json.loads((whole / "progress.json").read_text())["step"] >= max(1, stage.samples // stage.batch)


def whole_checkpoint(folder: Path, name: str) -> Path | None:
    """Where a stage's last whole checkpoint lies: a run killed between two renames has left the one before it aside."""
    places = (folder / name, folder / f"{name}.old")
    return next((place for place in places if (place / "progress.json").is_file()), None)


def load_ema(folder: Path, name: str, model: nn.Module) -> None:
    """Put a stage's EMA weights into the model."""
    model.load_state_dict(load_file((whole_checkpoint(folder, name) or folder / name) / "ema.safetensors"))


def _update_ema(ema: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        floats, news = [], []
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                floats.append(ema[key])
                news.append(value)
            else:
                ema[key].copy_(value)
        torch._foreach_lerp_(floats, news, 1 - decay)


def _state(
    model: nn.Module, ema: dict[str, Tensor], optimiser: torch.optim.Optimizer, params: list
) -> dict[str, dict[str, Tensor]]:
    """What a checkpoint holds, by file; to be called by all processes."""
    moments = {
        f"{i}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for i, p in enumerate(params)
        for key, value in optimiser.state.get(p, {}).items()
    }
    return {"model": whole(model.state_dict()), "ema": whole(ema), "optimiser": whole(moments)}


def _save(keep: Path, state: dict[str, dict[str, Tensor]], progress: tuple[int, float, dict[str, float], int]) -> None:
    aside = keep.with_name(keep.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, tensors in state.items():
        save_file({k: v.contiguous() for k, v in tensors.items()}, aside / f"{name}.safetensors")
    # last, so that it marks a whole checkpoint
    named = dict(zip(("step", "seconds", "running", "pieces"), progress, strict=True))
    (aside / "progress.json").write_text(json.dumps(named))
    old = keep.with_name(keep.name + ".old")
    if keep.exists():  # else the one aside is all there is
        shutil.rmtree(old, ignore_errors=True)
        keep.rename(old)
    aside.rename(keep)
    shutil.rmtree(old, ignore_errors=True)


def _restore(
    keep: Path, model: nn.Module, ema: dict[str, Tensor], optimiser: torch.optim.Optimizer, params: list, pieces: int
) -> tuple[int, float, dict[str, float]]:
    progress = json.loads((keep / "progress.json").read_text())
    if progress.get("pieces", 1) != pieces:
        raise RecipeError(
            "the training was begun with its batch in another number of pieces: it would go on as another one",
            file=keep / "progress.json",
            key="processes x train.accumulate",
            expected=progress.get("pieces", 1),
            found=pieces,
            remedy="start as many processes as before",
        )
    state = model.state_dict()
    kept_weights = load_file(keep / "model.safetensors").items()
    model.load_state_dict({key: like(state[key], value) if key in state else value for key, value in kept_weights})
    for key, value in load_file(keep / "ema.safetensors").items():
        ema[key].copy_(like(ema[key], value))
    for key, value in load_file(keep / "optimiser.safetensors").items():
        index, name = key.split(".", 1)
        param = params[int(index)]
        # in the parameter's memory format: another one takes another code path, and the last bits differ
        kept = torch.empty_like(param).copy_(like(param, value)) if value.shape == param.shape else value
        optimiser.state[param][name] = kept
        if optimiser.defaults["fused"]:
            optimiser.state[param][name] = optimiser.state[param][name].to(param.device)
    return progress["step"], progress["seconds"], progress.get("running", {})


def _forget_after(log_file: Path, step: int) -> None:
    """Drop what a killed run has logged since its last checkpoint: those steps come again."""
    if not log_file.is_file():
        return
    kept = []
    for line in log_file.read_text().splitlines():
        try:
            kept += [line] if json.loads(line)["step"] < step else []
        except ValueError:  # cut off in the middle
            continue
    aside = log_file.with_name(log_file.name + ".part")  # not that of a checkpoint, which a kill may have left
    aside.write_text("".join(line + "\n" for line in kept))
    aside.replace(log_file)


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]} {task.fields[losses]}"),
        disable=not shown,
    )


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM ask the loop to stop after the present step."""
    hit: list[int] = []
    old = {s: signal.signal(s, lambda number, _: hit.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(hit)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
