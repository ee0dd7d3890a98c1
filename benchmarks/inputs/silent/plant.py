"""One planted mistake, and what the program says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.errors import VlaAgentError


@dataclass(frozen=True)
class Plant:
    """A mistake in an input.

    Args:
        group: of mistakes, such as ``units``.
        name: what is wrong, in words.
        read: reads the input in an empty folder, as the program does, and returns what was said; "" where it was read
            without a word.  A typed error is a word, any other is not.
    """

    group: str
    name: str
    read: Callable[[Path], str]


def said_of(plant: Plant, folder: Path) -> str:
    """What the program says: ``refused: ...``, a finding, a line of the report; "" for nothing."""
    folder.mkdir(parents=True)
    try:
        return plant.read(folder)
    except VlaAgentError as error:
        return f"refused: {error.what}: {error.found}"[:200]


def convert_and_check(recording: Path, mapping: dict[str, Any], right: Callable[[Any], bool] = lambda _: False) -> str:
    """Convert and validate, as docs/data.md says; ``right`` tells whether the dataset is right after all."""
    from benchmarks.inputs.makers.mappings import write_mapping
    from vla_agent.data.convert.conversion_report import episode_lines
    from vla_agent.data.convert.convert import convert

    out = recording.parent / "out"
    report = convert(recording, write_mapping(recording.parent, mapping), out)
    lines = [line for episode in report["episodes"] for line in episode_lines(episode)[1:]]
    lines += [f"left out: {episode['left_out']}" for episode in report["left_out"]]
    return f"reported: {lines[0].strip()}" if lines else checked(out, right)


def checked(folder: Path, right: Callable[[Any], bool] = lambda _: False) -> str:
    """Validate a dataset, and load it."""
    from vla_agent.data.lerobot.dataset_reader import load
    from vla_agent.data.validate.validate import validate

    findings = validate(folder)
    if findings:
        return f"found: {findings[0].what}: {findings[0].found}"[:200]
    dataset = load(folder)
    dataset.frames(dataset.cameras[0], np.arange(len(dataset)))
    return "read right" if right(dataset) else ""
