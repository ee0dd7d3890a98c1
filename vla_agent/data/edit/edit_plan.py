"""What of a dataset goes into the new one: pieces of its episodes, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from vla_agent.data.edit.rate_change import stride
from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.errors import DatasetError, OptionError


@dataclass(frozen=True)
class Edit:
    """Changes to one dataset, by the numbers of its episodes and of their frames.

    Args:
        leave_out: episodes that are not taken.
        keep: the only episodes that are taken; None: all.
        trims: episode -> first and last frame that are kept, counted from the episode's first, which is 0.
        instructions: episode -> the instruction of all its frames.
        renames: instruction -> the one that takes its place, in all frames of other episodes.
        fps: the new rate; None: the old one.
    """

    leave_out: frozenset[int] = frozenset()
    keep: frozenset[int] | None = None
    trims: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    instructions: Mapping[int, str] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    fps: int | None = None

    def of_all(self) -> Edit:
        """What of it holds for every dataset that is merged: nothing that names episodes by number."""
        return Edit(renames=self.renames, fps=self.fps)


@dataclass(frozen=True)
class Piece:
    """Every ``every``-th of the frames ``first`` to ``stop`` - 1 of an episode, counted from the episode's first.

    ``cut``: frames behind it that do not fill a control period.  ``instruction``: of all frames; None: their own, of
    which ``renames`` replaces some.
    """

    dataset: Dataset
    episode: EpisodeInfo
    first: int
    stop: int
    every: int = 1
    cut: int = 0
    instruction: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> slice:
        """Its rows in the dataset's columns, also those between the frames that are kept."""
        return slice(self.episode.start + self.first, self.episode.start + self.stop)

    @property
    def length(self) -> int:
        """Number of frames that are kept."""
        return (self.stop - self.first) // self.every

    def own_tasks(self) -> list[int]:
        """The number of each kept frame's instruction in the dataset."""
        return [int(number) for number in self.dataset.columns["task_index"][self.rows][:: self.every]]


def plan(dataset: Dataset, edit: Edit) -> list[Piece]:
    """The pieces of a dataset that an edit takes.

    Raises:
        OptionError: an episode, a frame or a rate that is not there, or an episode that is changed and left out.
        DatasetError: nothing is left, or an episode's rows are not where the table of episodes states.
    """
    known = {episode.index for episode in dataset.episodes}
    keep = known if edit.keep is None else edit.keep
    changed = {"--trim": edit.trims.keys(), "--instruction": edit.instructions.keys()}
    for option, numbers in (("--leave-out", edit.leave_out), ("--keep", keep), *changed.items()):
        _require_known(option, numbers, known, dataset)
    taken = keep - edit.leave_out
    for option, numbers in changed.items():
        _require_taken(option, sorted(numbers - taken), dataset)
    if not taken:
        raise DatasetError(
            "no episode is left", file=dataset.root, expected="at least one", found="none", remedy="leave fewer out"
        )
    every = 1 if edit.fps is None else stride(dataset.fps, edit.fps, dataset.root)
    return [_piece(dataset, episode, edit, every) for episode in dataset.episodes if episode.index in taken]


def require_used(renames: Iterable[str], pieces: Iterable[Piece]) -> None:
    """Raise where an instruction is to be renamed that no frame has.

    Raises:
        OptionError: names it, and the instructions that there are.
    """
    found: dict[str, None] = {}
    for piece in pieces:
        if piece.instruction is None:
            found |= dict.fromkeys(piece.dataset.tasks.get(number, "") for number in dict.fromkeys(piece.own_tasks()))
    unused = [text for text in renames if text not in found]
    if unused:
        raise OptionError(
            "no frame that is taken has this instruction",
            key="--rename",
            expected="; ".join(list(found)[:20]) or "an episode whose instruction is not set by --instruction",
            found="; ".join(unused),
            remedy="write OLD as it is in the dataset: vla-agent data inspect lists the instructions",
        )


def _require_taken(option: str, unused: list[int], dataset: Dataset) -> None:
    if unused:
        raise OptionError(
            "an episode is changed and left out",
            file=dataset.root,
            key=option,
            expected="episodes that are taken",
            found=", ".join(map(str, unused)),
            remedy="remove one of the two options",
        )


def _piece(dataset: Dataset, episode: EpisodeInfo, edit: Edit, every: int) -> Piece:
    owners = dataset.columns["episode_index"][episode.start : episode.stop]
    if episode.length < 1 or len(owners) != episode.length or (owners != episode.index).any():
        raise DatasetError(
            "an episode's rows are not where the table of episodes states",
            file=dataset.root,
            key=f"episode {episode.index}",
            expected=f"{episode.length} rows from {episode.start} on",
            found=f"rows of episodes {', '.join(map(str, np.unique(owners)))}" if len(owners) else "no rows",
            remedy=f"leave it out: --leave-out {episode.index}",
        )
    first, last = edit.trims.get(episode.index, (0, episode.length - 1))
    if not 0 <= first <= last < episode.length:
        raise OptionError(
            "an episode does not have these frames",
            file=dataset.root,
            key=f"--trim {episode.index}:{first}-{last}",
            expected=f"0 to {episode.length - 1}",
            found=f"{first} to {last}",
            remedy="name frames of the episode; vla-agent data view shows them",
        )
    length = last + 1 - first
    if length < every:
        raise DatasetError(
            "an episode is shorter than a control period of the new rate",
            file=dataset.root,
            key=f"episode {episode.index}",
            expected=f"at least {every} frames",
            found=length,
            remedy=f"leave it out: --leave-out {episode.index}",
        )
    cut, text = length % every, edit.instructions.get(episode.index)
    return Piece(dataset, episode, first, last + 1 - cut, every, cut, text, edit.renames)


def _require_known(option: str, numbers: Iterable[int], known: set[int], dataset: Dataset) -> None:
    unknown = sorted(set(numbers) - known)
    if unknown:
        raise OptionError(
            "the dataset has no such episode",
            file=dataset.root,
            key=option,
            expected=f"numbers from {min(known, default=0)} to {max(known, default=0)}",
            found=", ".join(map(str, unknown)),
            remedy="vla-agent data validate and data view name the episodes",
        )
