"""One stage of a training: its name, its files, its seed, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class StageRun:
    """A stage of one training.

    name: of the stage.  folder: of the training.  seed: all random draws follow from it and the step's number.
    resume: continue from the last checkpoint, where there is one.
    """

    name: str
    folder: Path
    seed: int = 0
    resume: bool = False

    @property
    def checkpoint(self) -> Path:
        """The folder of the last checkpoint."""
        return self.folder / self.name

    @property
    def log(self) -> Path:
        """The loss curve, one JSON object a line."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.folder / "tensorboard" / self.name


@dataclass
class Progress:
    """How far a stage has come; ``progress.json`` of a checkpoint.

    step: steps taken.  seconds: of training.  running: exponentially smoothed losses.  pieces: of the global batch, see
    `vla_agent.training.parallel.processes`.
    """

    step: int = 0
    seconds: float = 0.0
    running: dict[str, float] = field(default_factory=dict)
    pieces: int = 1

    def advance(self, losses: dict[str, float], seconds: float) -> None:
        """Count one more step, with its losses and the training time so far."""
        self.step, self.seconds = self.step + 1, seconds
        for key, value in losses.items():
            self.running[key] = 0.95 * self.running.get(key, value) + 0.05 * value
