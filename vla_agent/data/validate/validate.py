"""Everything that is wrong with a dataset, at once, before a training finds it out one by one or not at all."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, read
from vla_agent.data.validate.check_frames import count_findings, frame_findings, instruction_findings
from vla_agent.data.validate.check_images import Looks, picture_findings, swapped_findings, video_findings
from vla_agent.data.validate.check_values import (
    clipped_findings,
    range_findings,
    repeated_findings,
    stats_findings,
    value_findings,
)
from vla_agent.data.validate.findings import Finding
from vla_agent.errors import ContractError, DatasetError


def validate(
    directory: str | PathLike[str], pictures: bool = True, progress: Callable[[int, int], None] = lambda done, n: None
) -> list[Finding]:
    """All findings, by episode.

    Args:
        pictures: also look at each episode's first, middle and last picture of each camera.
        progress: called with the number of episodes done and of all.

    Raises:
        DatasetError: it is no dataset: no description, or of a version that cannot be read.
    """
    root = Path(directory)
    try:
        dataset = read(root)
    except DatasetError as error:
        if error.file is None or error.file.endswith(dataset_schema.INFO):
            raise
        return _unreadable(root, error)
    rows = _rows(dataset)
    findings = list(count_findings(dataset)) + contract_findings(dataset)
    for episode in dataset.episodes:
        if episode.index not in rows:
            what, remedy = "the episode has no frames", "remove it from the table of episodes, or record it again"
            findings.append(Finding("missing frames", what, episode.index, 0, "episode_index", "none", remedy))
            continue
        for check in (frame_findings, instruction_findings, value_findings):
            findings += check(dataset, episode, rows[episode.index])
    for over_all in (clipped_findings, range_findings, repeated_findings):
        findings += over_all(dataset, rows)
    findings += stats_findings(dataset)
    lost = list(video_findings(dataset))
    findings += lost
    if pictures:
        findings += _look(dataset, {f.episode for f in lost} | _misplaced(dataset, rows), progress)
    return sorted(findings, key=lambda f: (-1 if f.episode is None else f.episode, f.frame or 0, f.check))


def contract_findings(dataset: Dataset) -> list[Finding]:
    """Cameras, sizes and the rate that do not fit the dataset's own contract."""
    if not (dataset.root / dataset_schema.CONTRACT).exists():
        return []
    remedy = "correct info.json or meta/contract.json: both must describe what is there"
    try:
        contract = dataset.contract
    except ContractError as error:
        what = "the contract cannot be read"
        return [Finding("contract", what, None, None, dataset_schema.CONTRACT, str(error).splitlines()[0], remedy)]
    findings = []
    if dataset.fps != contract.control_hz:
        what, found = "the rate is not the contract's", f"{dataset.fps:g} Hz, contract {contract.control_hz:g} Hz"
        findings.append(Finding("rate", what, None, None, "fps", found, remedy))
    for name, feature in dataset_schema.features(contract, "video", annotations=False).items():
        there = dataset.info["features"].get(name)
        if there is None or list(there["shape"]) != feature["shape"]:
            what = "a feature is missing or has another size than in the contract"
            found = f"{'absent' if there is None else there['shape']}, contract {feature['shape']}"
            findings.append(Finding("contract", what, None, None, name, found, remedy))
    return findings


def _rows(dataset: Dataset) -> dict[int, slice]:
    """Where each episode's frames lie in the columns: by what the frames say, so that a wrong table does no harm."""
    owner = dataset.columns["episode_index"]
    edges = np.flatnonzero(np.diff(owner)) + 1
    starts, stops = np.concatenate([[0], edges]), np.concatenate([edges, [len(owner)]])
    found: dict[int, slice] = {}
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        found.setdefault(int(owner[start]), slice(start, stop))
    return found


def _misplaced(dataset: Dataset, rows: dict[int, slice]) -> set[int]:
    """Episodes whose pictures cannot be found because their frames do not lie where the table says."""
    return {e.index for e in dataset.episodes if rows.get(e.index) != slice(e.start, e.stop)}


def _look(dataset: Dataset, skip: set, progress: Callable[[int, int], None]) -> list[Finding]:
    findings: list[Finding] = []
    looks: Looks = {}
    for number, episode in enumerate(dataset.episodes):
        if episode.index not in skip and episode.length > 0:
            findings += picture_findings(dataset, episode, looks)
        progress(number + 1, len(dataset.episodes))
    return findings + list(swapped_findings(looks))


def _unreadable(root: Path, error: DatasetError) -> list[Finding]:
    """A file that cannot be read, with the episodes that it holds where a table still says so."""
    name = Path(error.file or "")
    key = str(name.relative_to(root)) if name.is_relative_to(root) else str(name)
    episode = _first_episode_in(root, name)
    found = f"{error.found}; expected {error.expected}"
    remedy = error.remedy or "get the dataset again"
    return [Finding("unreadable", error.what, episode, None if episode is None else 0, key, found, remedy)]


def _first_episode_in(root: Path, file: Path) -> int | None:
    if file.stem.startswith("episode_"):
        return int(file.stem.removeprefix("episode_"))
    if not file.stem.startswith("file-") or "data" not in file.parts:
        return None
    place = (int(file.parent.name.removeprefix("chunk-")), int(file.stem.removeprefix("file-")))
    for table in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        columns = ["episode_index", "data/chunk_index", "data/file_index"]
        for row in pq.read_table(table, columns=columns, partitioning=None).to_pylist():
            if (row[columns[1]], row[columns[2]]) == place:
                return int(row["episode_index"])
    return None
