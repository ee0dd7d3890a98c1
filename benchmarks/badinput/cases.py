"""All cases, in one list."""

from __future__ import annotations

from benchmarks.badinput import checkpoints, commands, datasets, observations, tasks, training
from benchmarks.badinput.case import Case

CASES: tuple[Case, ...] = (
    *observations.CASES,
    *tasks.CASES,
    *datasets.CASES,
    *checkpoints.CASES,
    *training.CASES,
    *commands.CASES,
)
