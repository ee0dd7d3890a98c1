"""All cases, in one list."""

from __future__ import annotations

from benchmarks.inputs.badinput import bad_observations, checkpoints, commands, datasets, tasks, training
from benchmarks.inputs.badinput.case import Case

CASES: tuple[Case, ...] = (
    *bad_observations.CASES,
    *tasks.CASES,
    *datasets.CASES,
    *checkpoints.CASES,
    *training.CASES,
    *commands.CASES,
)
