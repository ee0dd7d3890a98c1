"""A frozen suite: every episode with its seed, its instruction and a fingerprint of its world, in one data file.

The file's SHA-256 stands in `suite_names`; a result names it, so that results of another suite are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from vla_agent.errors import TaskError
from vla_agent.files.bounded_reading import parse_json
from vla_agent.files.hashing import hash_file
from vla_agent.leaderboard.suite_names import SUITES, is_suite

FOLDER = Path(__file__).parent / "suites"
HELD_OUT = 7_000_000  # seeds from here on are for evaluation: nothing is trained, tuned or chosen on them
SUCCESS, ROBUSTNESS, GROUNDING = "success", "robustness", "grounding"


class FrozenEpisode(NamedTuple):
    """One episode.  ``cell``: a condition, as `vla_agent.gate.decision.plan` names it, such as ``axis.lighting.2``."""

    cell: str
    task: str
    seed: int
    instruction: str
    fingerprint: str

    @property
    def key(self) -> str:
        """As `vla_agent.evaluation.play.player.Job.key`."""
        return f"{self.cell}/{self.task}/{self.seed}"


@dataclass(frozen=True)
class Suite:
    """A frozen suite.

    Attributes:
        sha256: of its file.
        split: of wordings and objects.
        parts: `SUCCESS`, `ROBUSTNESS`, `GROUNDING` -> the cells that are averaged.
        made_with: versions of the programs that it was made with.
    """

    name: str
    sha256: str
    split: str
    parts: Mapping[str, tuple[str, ...]]
    episodes: tuple[FrozenEpisode, ...]
    made_with: Mapping[str, str]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task families, in the suite's order."""
        return tuple(dict.fromkeys(e.task for e in self.episodes))

    def shuffled(self, episode: FrozenEpisode) -> str:
        """The instruction of another episode: the next of the same cell and family with other words, else of the cell.

        Raises:
            TaskError: all episodes of its cell have one instruction.
        """
        cell = [e for e in self.episodes if e.cell == episode.cell]
        after = cell[cell.index(episode) + 1 :] + cell[: cell.index(episode)]
        others = [e for e in after if e.instruction != episode.instruction]
        found = next((e for e in others if e.task == episode.task), others[0] if others else None)
        if found is None:
            raise TaskError(
                "the cell has no other instruction",
                key=episode.cell,
                expected="at least two instructions",
                found=episode.instruction,
                remedy="leave this cell out of the control",
            )
        return found.instruction


@cache
def read_suite(name: str) -> Suite:
    """The suite of this name.

    Raises:
        TaskError: there is no such suite, or its file was changed.
    """
    if not is_suite(name):
        raise TaskError(
            "there is no such frozen suite",
            key="--suite",
            expected=", ".join(SUITES),
            found=name,
            remedy="use one of these, or a later release",
        )
    file = FOLDER / f"{name}.json"
    found = hash_file(file)
    if found != SUITES[name]:
        raise TaskError(
            "the frozen suite's file was changed",
            file=file,
            key="SHA-256",
            expected=SUITES[name],
            found=found,
            remedy="restore the file; a changed suite needs another name",
        )
    data = parse_json(file.read_bytes(), file, TaskError)
    parts = {part: tuple(cells) for part, cells in data["parts"].items()}
    episodes = tuple(FrozenEpisode(*row) for row in data["episodes"])
    return Suite(name, found, data["split"], parts, episodes, data["made_with"])
