"""What the page shows: episodes with their images, signals and findings, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_agent.errors import OptionError

EPISODES = 200  # shown unless the command names others
MOST_EPISODES = 2000
FRAMES = 60  # images per episode and camera unless the command says so
MOST_FRAMES = 300
LINES = 8  # in one plot


@dataclass(frozen=True)
class Signal:
    """Lines of one plot: values (n, d) of every frame, a name for each of the d columns."""

    title: str
    unit: str
    names: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True)
class ShownEpisode:
    """One episode.

    Args:
        index: its number in the dataset or report.
        task: the instruction.
        origin: where it comes from, in a few words.
        length: frames n.
        success: None where nothing says so.
        jerk: see `jerk`; None where there is no state.
        findings: as `Finding.to_dict` gives them.
        signals: of all n frames.
        numbers: the frames (k,) that have an image.
        images: camera -> (k, H, W, 3) uint8; None where they cannot be decoded.
    """

    index: int
    task: str
    origin: str
    length: int
    success: bool | None
    jerk: float | None
    findings: Sequence[Mapping[str, Any]]
    signals: Sequence[Signal]
    numbers: np.ndarray
    images: Mapping[str, np.ndarray | None]


@dataclass(frozen=True)
class Shown:
    """Everything that one page shows.

    Args:
        title: its heading.
        facts: lines below it.
        fps: frames per second.
        count: episodes that will come, for the progress.
        episodes: each is made when it is asked for.
        general: findings that belong to no episode.
        dataset: what `data edit --drop` compares (name, episodes, frames); None where nothing can be flagged.
    """

    title: str
    facts: Sequence[str]
    fps: float
    count: int
    episodes: Iterable[ShownEpisode]
    general: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    dataset: Mapping[str, Any] | None = None


def spread(length: int, most: int) -> np.ndarray:
    """Numbers of at most ``most`` of ``length`` frames, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int))


def jerk(state: np.ndarray, scale: np.ndarray) -> float | None:
    """Mean absolute third difference of a state (n, d), each dimension divided by ``scale`` (d,); no unit.

    None where there are fewer than four frames, or no finite number.
    """
    moving = scale > 0
    if len(state) < 4 or not moving.any():
        return None
    values = np.abs(np.diff(state[:, moving].astype(np.float64), 3, axis=0)) / scale[moving]
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def signals(kind: str, names: Sequence[str], values: np.ndarray, units: Mapping[str, str]) -> list[Signal]:
    """A vector feature (n, d) as plots: ``ee_position.0`` to ``.2`` share one, of at most `LINES` lines.

    Args:
        kind: begins each title, such as ``action``.
        names: of the d columns.
        units: field -> unit; a field that is not there has none.
    """
    groups: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        stem, dot, last = name.rpartition(".")
        groups.setdefault(stem if dot and last.isdecimal() else "" if name.isdecimal() else name, []).append(column)
    found = []
    for stem, columns in groups.items():
        for first in range(0, len(columns), LINES):
            some = columns[first : first + LINES]
            title = " ".join(part for part in (kind, stem.replace("_", " ")) if part)
            title += f" ({first} to {first + len(some) - 1})" if len(columns) > LINES else ""
            short = tuple(names[c].removeprefix(f"{stem}.") if stem else names[c] for c in some)
            found.append(Signal(title, units.get(stem, ""), short, values[:, some]))
    return found


def choose(known: Sequence[int], wanted: Sequence[int] | None, first: set[int]) -> list[int]:
    """The episodes that are shown, in order.

    Args:
        known: numbers of all episodes.
        wanted: those that the command names; None: all, or `EPISODES` of them.
        first: episodes that come before others where not all are shown; of the rest, an even spread.

    Raises:
        OptionError: an episode is not there, or too many are wanted.
    """
    if wanted is None:
        if len(known) <= EPISODES:
            return sorted(known)
        chosen = [k for k in known if k in first][:EPISODES]
        rest = [k for k in known if k not in first]
        chosen += [rest[i] for i in spread(len(rest), EPISODES - len(chosen))] if len(chosen) < EPISODES else []
        return sorted(chosen)
    unknown = sorted(set(wanted) - set(known))
    if unknown or not 0 < len(set(wanted)) <= MOST_EPISODES:
        raise OptionError(
            "these episodes cannot be shown",
            key="--episodes",
            expected=f"1 to {MOST_EPISODES} numbers from {min(known, default=0)} to {max(known, default=0)}",
            found=f"{', '.join(map(str, unknown[:20]))} of {len(set(wanted))} episodes"
            if unknown
            else len(set(wanted)),
            remedy="name fewer, or those that are there; vla-agent data inspect says how many there are",
        )
    return sorted(set(wanted))
