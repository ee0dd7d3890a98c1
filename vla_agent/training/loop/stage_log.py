"""A stage's losses for people: progress bar, ``NAME.jsonl``, TensorBoard, and other trackers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from vla_agent.files.write_aside import write_text
from vla_agent.training.loop.stage_run import Progress as StageProgress
from vla_agent.training.loop.stage_run import StageRun
from vla_agent.training.recipe import Stage

Tracker = Callable[[dict[str, float], int], None]


class StageLog:
    """Writes the smoothed losses where it is told to; in a process that does not ``write`` it does nothing.

    Args:
        steps: of the whole stage.  progress: where the run starts; later lines of an earlier run's log are dropped.
        trackers: called with the losses and the step's number wherever the log gets a line.
    """

    def __init__(
        self, run: StageRun, stage: Stage, steps: int, progress: StageProgress, write: bool, trackers: Sequence[Tracker]
    ) -> None:
        self.run, self.stage, self.steps, self.write, self.trackers = run, stage, steps, write, trackers
        self.first, self.seconds_before = progress.step, progress.seconds
        self._open = ExitStack()

    def __enter__(self) -> StageLog:
        if not self.write:
            return self
        if self.first:
            _drop_lines_from(self.run.log, self.first)
        else:
            self.run.log.unlink(missing_ok=True)
        self._tensorboard = self._open.enter_context(SummaryWriter(str(self.run.tensorboard)))
        self._bar = self._open.enter_context(_progress_bar())
        self._task = self._bar.add_task(self.run.name, total=self.steps, completed=self.first, rate="", losses="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, progress: StageProgress) -> None:
        """Show and write the state after a step."""
        if not self.write:
            return
        name, step, running = self.run.name, progress.step - 1, progress.running
        rate = (progress.step - self.first) * self.stage.batch / (progress.seconds - self.seconds_before)
        losses = " ".join(f"{k} {v:.3f}" for k, v in running.items())
        self._bar.update(self._task, completed=progress.step, rate=f"{rate:.0f} samples/s", losses=losses)
        row = {"step": step, "samples": progress.step * self.stage.batch, "seconds": round(progress.seconds, 1)}
        with self.run.log.open("a") as log:
            log.write(json.dumps(row | running) + "\n")
        for key, value in running.items():
            self._tensorboard.add_scalar(f"{name}/{key}", value, step)
        for tracker in self.trackers:
            tracker({f"{name}/{key}": value for key, value in running.items()}, step)


def _drop_lines_from(log: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint: those steps are taken again."""
    if not log.is_file():
        return
    kept = []
    for line in log.read_text().splitlines():
        try:
            kept += [line] if json.loads(line)["step"] < step else []
        except ValueError:  # cut off in the middle
            continue
    write_text(log, "".join(line + "\n" for line in kept))


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]} {task.fields[losses]}"),
    )
