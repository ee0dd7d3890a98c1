"""All cases, in one list."""

from __future__ import annotations

from benchmarks.inputs.badinput import checkpoints, commands, datasets, observations, tasks, training
from benchmarks.inputs.badinput.case import Case

CASES: tuple[Case, ...] = (
    *observations.CASES,
    *tasks.CASES,
    *datasets.CASES,
    *checkpoints.CASES,
    *training.CASES,
    *commands.CASES,
)
