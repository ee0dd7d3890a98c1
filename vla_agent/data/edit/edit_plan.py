"""What of a dataset goes into the new one: pieces of its episodes, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

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
    """

    leave_out: frozenset[int] = frozenset()
    keep: frozenset[int] | None = None
    trims: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Frames ``first`` to ``stop`` - 1 of an episode, counted from the episode's first."""

    dataset: Dataset
    episode: EpisodeInfo
    first: int
    stop: int

    @property
    def rows(self) -> slice:
        """Its rows in the dataset's columns."""
        return slice(self.episode.start + self.first, self.episode.start + self.stop)


def plan(dataset: Dataset, edit: Edit) -> list[Piece]:
    """The pieces of a dataset that an edit takes.

    Raises:
        OptionError: an episode or a frame that is not there, or an episode that is trimmed and left out.
        DatasetError: nothing is left, or an episode's rows are not where the table of episodes states.
    """
    known = {episode.index for episode in dataset.episodes}
    keep = known if edit.keep is None else edit.keep
    for option, numbers in (("--leave-out", edit.leave_out), ("--keep", keep), ("--trim", edit.trims.keys())):
        _require_known(option, numbers, known, dataset)
    taken = keep - edit.leave_out
    unused = sorted(edit.trims.keys() - taken)
    if unused:
        raise OptionError(
            "an episode is trimmed and left out",
            file=dataset.root,
            key="--trim",
            expected="episodes that are taken",
            found=", ".join(map(str, unused)),
            remedy="remove one of the two options",
        )
    if not taken:
        raise DatasetError(
            "no episode is left", file=dataset.root, expected="at least one", found="none", remedy="leave fewer out"
        )
    return [_piece(dataset, episode, edit.trims) for episode in dataset.episodes if episode.index in taken]


def _piece(dataset: Dataset, episode: EpisodeInfo, trims: Mapping[int, tuple[int, int]]) -> Piece:
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
    first, last = trims.get(episode.index, (0, episode.length - 1))
    if not 0 <= first <= last < episode.length:
        raise OptionError(
            "an episode does not have these frames",
            file=dataset.root,
            key=f"--trim {episode.index}:{first}-{last}",
            expected=f"0 to {episode.length - 1}",
            found=f"{first} to {last}",
            remedy="name frames of the episode; vla-agent data view shows them",
        )
    return Piece(dataset, episode, first, last + 1)


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
