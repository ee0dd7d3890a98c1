"""Finds all defects of a dataset at once, before a training fails on one or learns from it."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_checks import check_columns, check_sizes
from vla_agent.data.lerobot.dataset_files import read_table
from vla_agent.data.lerobot.dataset_reader import Dataset, read
from vla_agent.data.validate.check_frames import (
    count_findings,
    frame_findings,
    instruction_findings,
    unnamed_findings,
)
from vla_agent.data.validate.check_images import Thumbnails, image_findings, swapped_findings, video_findings
from vla_agent.data.validate.check_values import (
    clipped_findings,
    range_findings,
    repeated_findings,
    stats_findings,
    unit_findings,
    value_findings,
)
from vla_agent.data.validate.findings import Finding
from vla_agent.errors import ContractError, DatasetError
from vla_agent.files.input_limits import TEXT_TABLE_BYTES


def validate(
    directory: str | PathLike[str], images: bool = True, progress: Callable[[int, int], None] = lambda done, n: None
) -> list[Finding]:
    """All findings, sorted by episode.

    Args:
        directory: the dataset.
        images: also check the first, middle and last image of each episode and camera.
        progress: called with the number of episodes done and of all.

    Raises:
        DatasetError: the folder is not a dataset: no ``meta/info.json``, or of a version that cannot be read.
    """
    root = Path(directory)
    try:
        dataset = read(root)
    except DatasetError as error:
        if error.file is None or error.file.endswith(dataset_schema.INFO):
            raise
        return _unreadable(root, error)
    rows = _rows(dataset)
    findings = [*count_findings(dataset), *unnamed_findings(dataset), *contract_findings(dataset)]
    for episode in dataset.episodes:
        if episode.index not in rows:
            what, remedy = "the episode has no frames", "remove it from the table of episodes, or record it again"
            findings.append(Finding("missing frames", what, episode.index, 0, "episode_index", "none", remedy))
            continue
        for check in (frame_findings, instruction_findings, value_findings):
            findings += check(dataset, episode, rows[episode.index])
    for check_all in (clipped_findings, range_findings, unit_findings, repeated_findings):
        findings += check_all(dataset, rows)
    findings += stats_findings(dataset)
    short_videos = list(video_findings(dataset))
    findings += short_videos
    if images:
        findings += _check_images(dataset, {f.episode for f in short_videos} | _misplaced(dataset, rows), progress)
    findings += [] if any(finding.error for finding in findings) else _refused(root, dataset)
    if not (root / dataset_schema.CONTRACT).exists():
        findings = [finding.without_edit() for finding in findings]
    return sorted(findings, key=lambda f: (-1 if f.episode is None else f.episode, f.frame or 0, f.check))


def _refused(root: Path, dataset: Dataset) -> list[Finding]:
    """What `dataset_reader.load` refuses and no check above has found."""
    try:
        check_sizes(root)
        check_columns(dataset)  # its videos are among the checks above
    except DatasetError as error:
        return _unreadable(root, error)
    return []


def contract_findings(dataset: Dataset) -> list[Finding]:
    """Cameras, sizes and the rate that do not fit the dataset's contract."""
    if not (dataset.root / dataset_schema.CONTRACT).exists():
        return []
    remedy = "correct info.json or meta/contract.json: both must describe the data"
    try:
        contract = dataset.contract
    except ContractError as error:
        what = "the contract cannot be read"
        return [Finding("contract", what, None, None, dataset_schema.CONTRACT, str(error).splitlines()[0], remedy)]
    findings = []
    if dataset.fps != contract.control_hz:
        what, found = "the rate is not that of the contract", f"{dataset.fps:g} Hz, contract {contract.control_hz:g} Hz"
        findings.append(Finding("rate", what, None, None, "fps", found, remedy))
    for name, feature in dataset_schema.features(contract, "video", annotations=False).items():
        stored = dataset.info["features"].get(name)
        if stored is None or dataset_schema.stated_shape(stored) != feature["shape"]:
            what = "a feature is missing or has another size than in the contract"
            found = f"{'absent' if stored is None else stored['shape']}, contract {feature['shape']}"
            findings.append(Finding("contract", what, None, None, name, found, remedy))
    return findings


def _rows(dataset: Dataset) -> dict[int, slice]:
    """Episode -> its rows in the columns, by the frames' own index: the table of episodes may be wrong."""
    owner = dataset.columns["episode_index"]
    edges = np.flatnonzero(np.diff(owner)) + 1
    starts, stops = np.concatenate([[0], edges]), np.concatenate([edges, [len(owner)]])
    found: dict[int, slice] = {}
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        found.setdefault(int(owner[start]), slice(start, stop))
    return found


def _misplaced(dataset: Dataset, rows: dict[int, slice]) -> set[int]:
    """Episodes whose images cannot be located: their frames are not where the table of episodes states."""
    return {e.index for e in dataset.episodes if rows.get(e.index) != slice(e.start, e.stop)}


def _check_images(dataset: Dataset, skip: set[int | None], progress: Callable[[int, int], None]) -> list[Finding]:
    """Findings in the images of all episodes but those in ``skip``."""
    findings: list[Finding] = []
    thumbnails: Thumbnails = {}
    for number, episode in enumerate(dataset.episodes):
        if episode.index not in skip and episode.length > 0:
            findings += image_findings(dataset, episode, thumbnails)
        progress(number + 1, len(dataset.episodes))
    return findings + list(swapped_findings(thumbnails))


def _unreadable(root: Path, error: DatasetError) -> list[Finding]:
    """A file that cannot be read as a finding, with its first episode where that is known."""
    name = Path(error.file or "")
    key = str(name.relative_to(root)) if name.is_relative_to(root) else str(name)
    episode = _first_episode_in(root, name)
    found = f"{error.found}; expected {error.expected}"
    remedy = error.remedy or "get the dataset again"
    return [Finding("unreadable", error.what, episode, None if episode is None else 0, key, found, remedy)]


def _first_episode_in(root: Path, file: Path) -> int | None:
    """The first episode in a data file, by its name or by the table of episodes."""
    if file.stem.startswith("episode_"):
        return int(file.stem.removeprefix("episode_"))
    if not file.stem.startswith("file-") or "data" not in file.parts:
        return None
    location = (int(file.parent.name.removeprefix("chunk-")), int(file.stem.removeprefix("file-")))
    for table in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        columns = ["episode_index", "data/chunk_index", "data/file_index"]
        for row in read_table(table, columns, most=TEXT_TABLE_BYTES).to_pylist():
            if (row[columns[1]], row[columns[2]]) == location:
                return int(row["episode_index"])
    return None
