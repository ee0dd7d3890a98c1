"""The episodes of a dataset, or of recordings that the converter reads, for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.browse.shown import Shown, ShownEpisode, Signal, choose, jerk, signals, spread
from vla_agent.data.convert.convert import convert
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, read
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.validate.check_values import names_of
from vla_agent.data.validate.findings import Finding
from vla_agent.data.validate.validate import validate
from vla_agent.errors import ContractError, DatasetError

KINDS = {dataset_schema.ACTION: "action", dataset_schema.STATE: "state"}
OUTCOMES = ("next.success", "success")  # columns of other programs
Progress = Callable[[int, int], None]


def show_dataset(
    directory: str | PathLike[str], wanted: Sequence[int] | None, frames: int, progress: Progress = lambda done, n: None
) -> Shown:
    """A dataset with the findings of `validate`; it may be a damaged one, as long as its tables can be read.

    Args:
        directory: the dataset.
        wanted: numbers of the episodes; None: all, or `EPISODES` of them.
        frames: images per episode and camera, at most.
        progress: of the validation.

    Raises:
        DatasetError: the tables cannot be read.
        OptionError: an episode is not there.
    """
    dataset = read(directory)
    findings = validate(directory, progress=progress)
    known = [episode.index for episode in dataset.episodes]
    chosen = choose(known, wanted, {f.episode for f in findings if f.episode is not None})
    total = len(dataset.columns["index"])
    return Shown(
        title=dataset.root.resolve().name,
        facts=[
            f"LeRobotDataset {dataset.info['codebase_version']}: {len(known)} episodes, {total:,} frames at "
            f"{dataset.fps:g} Hz, cameras {', '.join(dataset.cameras) or 'none'}",
            f"{len(chosen)} of {len(known)} episodes are shown"
            + ("" if len(chosen) == len(known) else "; ")
            + ("" if len(chosen) == len(known) else "--episodes names others"),
        ],
        fps=dataset.fps,
        count=len(chosen),
        episodes=_episodes(dataset, set(chosen), findings, frames),
        general=[f.to_dict() for f in findings if f.episode is None],
        dataset={"name": dataset.root.resolve().name, "episodes": len(known), "frames": total},
    )


def show_recordings(
    recordings: str | PathLike[str],
    mapping_file: str | PathLike[str],
    scratch: Path,
    frames: int,
    wanted: Sequence[int] | None = None,
) -> Shown:
    """Bags or files of other programs as a training would get them: converted by their mapping into ``scratch``.

    Raises:
        DatasetError, ContractError: the mapping or a recording is wrong, or no episode is left.
    """
    report = convert(recordings, mapping_file, scratch / "converted")
    shown = show_dataset(scratch / "converted", wanted, frames)
    name = Path(recordings).resolve().name
    left_out = [f"left out: {entry['from']}: {entry['left_out']}" for entry in report["left_out"]]
    facts = [f"as `vla-agent data convert` with {Path(mapping_file).name} writes it", *shown.facts, *left_out]
    return replace(shown, title=name, facts=facts, dataset=dict(shown.dataset or {}) | {"name": name})


def _episodes(dataset: Dataset, chosen: set[int], findings: list[Finding], frames: int) -> Iterator[ShownEpisode]:
    scale = _scale(dataset)
    outcomes = outcomes_of(dataset)
    for episode in dataset.episodes:
        if episode.index not in chosen:
            continue
        rows = slice(episode.start, episode.stop)
        state = _matrix(dataset, dataset_schema.STATE)
        numbers = spread(episode.length, frames)
        yield ShownEpisode(
            index=episode.index,
            task=str(episode.task),
            origin=", ".join(f"{k} {v}" for k, v in episode.origin.items() if v is not None),
            length=episode.length,
            success=outcomes.get(episode.index),
            jerk=None if state is None or scale is None else jerk(state[rows], scale),
            findings=[f.to_dict() for f in findings if f.episode == episode.index],
            signals=signals_of(dataset, rows),
            numbers=numbers,
            images={camera: _images(dataset, camera, episode, numbers) for camera in dataset.cameras},
        )


def signals_of(dataset: Dataset, rows: slice) -> list[Signal]:
    """The plots of some rows of a dataset: its action and its state."""
    found: list[Signal] = []
    units = _units(dataset)
    for key, kind in KINDS.items():
        values = _matrix(dataset, key)
        if values is not None:
            found += signals(kind, names_of(dataset, key), values[rows], units.get(key, {}))
    return found


def _matrix(dataset: Dataset, key: str) -> np.ndarray | None:
    """A vector feature as (N, d); None where the dataset has none."""
    values = dataset.columns.get(key)
    return None if values is None else values.reshape(len(values), -1)


def _scale(dataset: Dataset) -> np.ndarray | None:
    """Standard deviation (d,) of each dimension of the state over the dataset; 0 where it has no finite number."""
    state = _matrix(dataset, dataset_schema.STATE)
    if state is None:
        return None
    finite = np.where(np.isfinite(state), state, np.nan).astype(np.float64)
    known = np.asarray(np.isfinite(finite).any(axis=0))
    return np.array([np.nanstd(finite[:, d]) if known[d] else 0.0 for d in range(finite.shape[1])])


def _images(dataset: Dataset, camera: str, episode: EpisodeInfo, numbers: np.ndarray) -> np.ndarray | None:
    """The images (k, H, W, 3); None where they cannot be decoded, which is a finding."""
    with suppress(DatasetError, ValueError, TypeError, AttributeError, KeyError):
        return dataset.frames(camera, episode.start + numbers)
    return None


def outcomes_of(dataset: Dataset) -> dict[int, bool]:
    """Episode -> success, where a column or the record of a conversion states it."""
    for key in OUTCOMES:
        if key in dataset.columns:
            values = dataset.columns[key].reshape(len(dataset.columns[key]), -1)
            return {e.index: bool((values[e.start : e.stop] > 0).any()) for e in dataset.episodes}
    collection = dataset.collection
    entries: Any = collection.get("episodes") if "edited" not in collection else None
    if isinstance(entries, list) and len(entries) == len(dataset.episodes):
        stated = zip(dataset.episodes, entries, strict=True)
        return {e.index: entry["success"] for e, entry in stated if isinstance(entry.get("success"), bool)}
    return {}


def _units(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Feature -> field -> unit, where the dataset has a contract that can be read."""
    with suppress(ContractError, DatasetError):
        contract = dataset.contract
        fields = {dataset_schema.STATE: contract.state, dataset_schema.ACTION: contract.action}
        return {key: {f.name: f.unit for f in some} for key, some in fields.items()}
    return {}
