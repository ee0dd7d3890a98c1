"""One training loop for all stages: optimiser steps, log, checkpoints, exact resume.

Batches are drawn from generators seeded by (seed, step), so that a resumed run sees what the uninterrupted one would.
Several processes (see `vla_agent.training.parallel.processes`) take the same steps; the main one alone writes.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vla_agent.errors import DivergenceError
from vla_agent.training.loop.optimisation import Optimisation
from vla_agent.training.loop.stage_checkpoint import last_checkpoint, restore, save_checkpoint
from vla_agent.training.loop.stage_log import StageLog, Tracker
from vla_agent.training.loop.stage_run import Progress, StageRun
from vla_agent.training.parallel.processes import Processes, single_process
from vla_agent.training.recipe import Stage

Losses = dict[str, Tensor]
LOG_EVERY = 20  # steps


class Interrupted(Exception):
    """The run was interrupted; its checkpoint is whole and ``--resume`` continues from it."""


def train_stage(
    run: StageRun,
    model: nn.Module,
    step_losses: Callable[[torch.Generator], Losses],
    stage: Stage,
    *,
    after_step: Callable[[int], None] | None = None,
    processes: Processes | None = None,
    trackers: Sequence[Tracker] = (),
) -> None:
    """Train ``model`` in place and leave its EMA weights in it.

    Args:
        step_losses: draws a batch with the generator and returns named losses; their sum is minimised.
        after_step: called with the step's number after each step of the optimiser, while the gradients are there.
        processes: those that train together; ``step_losses`` then draws one piece of the batch.  Left out: this one.
        trackers: called with the smoothed losses and the step's number wherever the log gets a line.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written first.
        DivergenceError: a loss or the gradients are not finite; the last checkpoint is from before that.
        ProcessError: another process has ended.
    """
    group = processes or single_process(run.name)
    optimisation = Optimisation(model, stage)
    checkpoint = last_checkpoint(run.folder, run.name) if run.resume else None
    progress = restore(checkpoint, optimisation, group.pieces) if checkpoint else Progress(pieces=group.pieces)
    steps, seconds_before = optimisation.steps, progress.seconds
    log = StageLog(run, stage, steps, progress, group.main, trackers)
    started = saved = time.monotonic()
    with group.peer_errors(), _stop_flag() as stop_requested, log:
        model.train()
        for step in range(progress.step, steps):
            losses = _take_step(run, optimisation, group, step_losses, step)
            if after_step:
                after_step(step)
            optimisation.update_ema(step)
            now = time.monotonic()
            due = group.main and now - saved > 60 * stage.checkpoint_minutes
            losses, (stopped, due) = group.average(losses, stop_requested(), due)
            progress.advance(losses, seconds_before + now - started)
            if step % LOG_EVERY == 0 or step == steps - 1:
                log.add(progress)
            if stopped or due or step == steps - 1:
                save_checkpoint(run, optimisation, progress, write=group.main)
                saved = now
            if stopped and step < steps - 1:
                raise Interrupted(f"{run.name}: stopped after {step + 1} of {steps} steps")
    model.load_state_dict(optimisation.ema)


def _take_step(
    run: StageRun,
    optimisation: Optimisation,
    group: Processes,
    step_losses: Callable[[torch.Generator], Losses],
    step: int,
) -> dict[str, float]:
    """One step of the optimiser; this process's losses.

    Raises:
        DivergenceError: a loss or the gradients are not finite; the weights are left as they were.
    """
    optimisation.begin_step(step)
    losses = group.backward(run.seed * 1_000_003 + step, step_losses)
    values = losses | {"norm of the gradients": optimisation.clip_gradients()}
    infinite = {key: value for key, value in values.items() if not math.isfinite(value)}
    if infinite:
        raise DivergenceError(
            "the training has diverged",
            file=run.checkpoint,
            key=f"{run.name}, step {step}",
            expected="finite losses and gradients",
            found=", ".join(f"{key} {value}" for key, value in infinite.items()),
            remedy="a lower learning rate or more warm-up steps, in a new folder; the last checkpoint is from before",
        )
    optimisation.optimiser.step()
    return losses


@contextmanager
def _stop_flag() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM ask the loop to stop after the present step."""
    received: list[int] = []
    old = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
