"""Reads LeRobotDataset v3.0 (and v2.1) folders without the lerobot package: whole columns, any frames, all frames.

`load` reads and checks everything but the pictures, so that what is wrong shows before a training starts::

    dataset = load("datasets/tabletop")
    columns = dataset.arrays()                        # "observation.state" (N, 17), "action" (N, 7), "task" (N,), ...
    pictures = dataset.frames("front", [0, 17, 4])    # (3, H, W, 3) uint8
    everything = dataset.decode_all("front")          # (N, H, W, 3) uint8 memory map, made once
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.data import earlier, schema
from vla_agent.data.arrow import task_list, vector_values
from vla_agent.data.checks import check_columns, check_info, check_sizes, check_videos, read_json, read_table
from vla_agent.data.frames import FrameCache, default_cache, read_frames
from vla_agent.data.lerobot_writer import manifest
from vla_agent.errors import DatasetError


@dataclass(frozen=True)
class EpisodeInfo:
    """Where an episode's frames lie.  ``start`` and ``stop`` count frames over the whole dataset."""

    index: int
    task: str
    start: int
    stop: int
    data_file: tuple[int, int]  # chunk, file
    data_start: int  # the episode's first row within that file
    video_files: dict[str, tuple[int, int]]  # camera -> chunk, file
    video_starts: dict[str, int]  # camera -> the episode's first frame within that file
    origin: dict[str, Any] = field(default_factory=dict)  # task family, seed, ... where the collector wrote them

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Dataset:
    """A checked dataset.  Made by `load`."""

    root: Path
    info: dict[str, Any]
    episodes: tuple[EpisodeInfo, ...]
    tasks: tuple[str, ...]
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return int(self.info["total_frames"])

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def cameras(self) -> tuple[str, ...]:
        features = self.info["features"].items()
        return tuple(k.removeprefix(schema.IMAGE_PREFIX) for k, f in features if f["dtype"] in ("image", "video"))

    @property
    def stats(self) -> dict[str, dict[str, np.ndarray]]:
        """``meta/stats.json``: feature -> min, max, mean, std, count, q01 ... q99; empty where there is none (v2.1)."""
        if not (self.root / schema.STATS).exists():
            return {}
        data = read_json(self.root / schema.STATS)
        return {name: {k: np.asarray(v) for k, v in stats.items()} for name, stats in data.items()}

    @property
    def contract(self) -> Contract:
        """The contract that the demonstrations were recorded with.

        Raises:
            DatasetError: the dataset carries none (it was not written by vla-agent).
            ContractError: it is of another version.
        """
        path = self.root / schema.CONTRACT
        if not path.exists():
            raise DatasetError(
                "the dataset says nothing of cameras, units and frames: another program recorded it",
                file=path,
                expected="a contract",
                found="nothing there",
                remedy=f"vla-agent data convert {self.root} --mapping config/data/lerobot_so101.yaml -o NEW, with a "
                "mapping file of your robot (docs/data.md)",
            )
        return Contract.from_dict(read_json(path), file=str(path))

    @property
    def collection(self) -> dict[str, Any]:
        """How it was collected (``meta/collection.json``); empty where nobody wrote that down."""
        path = self.root / schema.COLLECTION
        return dict(read_json(path)) if path.exists() else {}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the names, sizes and hashes of the dataset's files."""
        path = self.root / schema.MANIFEST
        files = read_json(path) if path.exists() else manifest(self.root)
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Every column but the pictures: feature -> (N, d) float32 or (N,) int64, and ``task`` (N,) strings."""
        tasks = np.array(self.tasks, dtype=object)
        return dict(self.columns) | {"task": tasks[self.columns["task_index"]]}

    def frames(self, camera: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The pictures with these frame numbers, in this order: (n, H, W, 3) uint8.

        Raises:
            DatasetError: no such camera or frame, or the file is damaged.
        """
        self.require_camera(camera)
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise DatasetError(
                "there is no such frame",
                file=self.root,
                key="indices",
                expected=f"0 to {len(self) - 1}",
                found=f"{indices.min()} to {indices.max()}",
            )
        return read_frames(self, camera, indices)

    def decode_all(self, camera: str, workers: int = 2, cache: str | PathLike[str] | None = None) -> np.ndarray:
        """All pictures of a camera as a read-only memory map (N, H, W, 3) uint8, decoded at the first call.

        Args:
            camera: one of `cameras`.
            workers: threads that decode.
            cache: folder for the decoded pictures; default ``$VLA_AGENT_CACHE`` or ``~/.cache/vla_agent``.

        Raises:
            DatasetError: no such camera, a damaged file, or too little room on the disk.
        """
        self.require_camera(camera)
        return FrameCache(Path(cache) if cache else default_cache()).open(self, camera, workers)

    def require_camera(self, camera: str) -> None:
        """Raise unless the dataset has this camera.

        Raises:
            DatasetError: listing the cameras there are.
        """
        if camera not in self.cameras:
            raise DatasetError(
                "the dataset has no such camera",
                file=self.root / schema.INFO,
                key=schema.image_key(camera),
                expected=", ".join(self.cameras),
                found=camera,
                remedy="name one of these, or record the dataset with that camera",
            )

    def feature(self, camera: str) -> tuple[str, dict[str, Any]]:
        """A camera's feature name and description."""
        features = self.info["features"]
        key = schema.image_key(camera) if schema.image_key(camera) in features else camera
        return key, features[key]

    def data_path(self, file: tuple[int, int]) -> Path:
        return self.root / self.info["data_path"].format(**_numbers(file))

    def video_path(self, camera: str, file: tuple[int, int]) -> Path:
        key, _ = self.feature(camera)
        return self.root / self.info["video_path"].format(video_key=key, **_numbers(file))


def _numbers(file: tuple[int, int]) -> dict[str, int]:
    """Chunk and file by the names that v3.0 and v2.1 (one file an episode) give them in their paths."""
    names = ("chunk_index", "file_index", "episode_chunk", "episode_index")
    return dict(zip(names, (*file, *file), strict=True))


def load(directory: str | PathLike[str]) -> Dataset:
    """Open a dataset and check it: version, files, tables, indices, NaN, contract, length of the videos.

    Raises:
        DatasetError: naming file, key, what was expected and found, and the remedy.
        ContractError: the contract inside is of another version.
    """
    root = Path(directory)
    check_info(root)
    check_sizes(root)
    dataset = read(root)
    check_columns(dataset)
    check_videos(dataset)
    return dataset


def read(directory: str | PathLike[str]) -> Dataset:
    """Read a dataset's tables; nothing in them is checked (see `vla_agent.data.validate` for all findings at once).

    Raises:
        DatasetError: a file is missing or cannot be read at all.
    """
    root = Path(directory)
    info = check_info(root)
    if info["codebase_version"] == schema.EARLIER_VERSION:
        tasks, episodes = earlier.tasks(root), earlier.episodes(root, info, EpisodeInfo)
    else:
        tasks, episodes = _tasks(root), _episodes(root, info)
    return Dataset(root, info, episodes, tasks, _columns(root, info, episodes))


def _tasks(root: Path) -> tuple[str, ...]:
    path = root / schema.TASKS
    table = read_table(path)
    try:
        return tuple(task_list(table))
    except KeyError as error:
        raise DatasetError(
            "the table of instructions lacks a column",
            file=path,
            key=str(error).strip("'"),
            expected="task_index, and the instructions as index",
            found=table.column_names,
            remedy="get the dataset again",
        ) from error


def _episodes(root: Path, info: dict[str, Any]) -> tuple[EpisodeInfo, ...]:
    first = root / schema.EPISODES_PATH.format(chunk_index=0, file_index=0)
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet")) or [first]
    videos = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    fps = info["fps"]
    cameras = {key.removeprefix(schema.IMAGE_PREFIX): f"videos/{key}" for key in videos}
    episodes: list[EpisodeInfo] = []
    starts: dict[tuple[int, int], int] = {}  # of each data file: the number of its first frame
    for path in paths:
        table = read_table(path)
        names = [name for name in table.column_names if not name.startswith("stats/")]
        for row in table.select(names).to_pylist():
            try:
                file = (row["data/chunk_index"], row["data/file_index"])
                episodes.append(
                    EpisodeInfo(
                        index=row["episode_index"],
                        task=(row["tasks"] or [""])[0],
                        start=row["dataset_from_index"],
                        stop=row["dataset_to_index"],
                        data_file=file,
                        data_start=row["dataset_from_index"] - starts.setdefault(file, row["dataset_from_index"]),
                        video_files={c: (row[f"{v}/chunk_index"], row[f"{v}/file_index"]) for c, v in cameras.items()},
                        video_starts={c: round(row[f"{v}/from_timestamp"] * fps) for c, v in cameras.items()},
                        origin={k.removeprefix("origin/"): v for k, v in row.items() if k.startswith("origin/")},
                    )
                )
            except KeyError as error:
                raise DatasetError(
                    "the table of episodes lacks a column",
                    file=path,
                    key=str(error).strip("'"),
                    expected="the columns of LeRobotDataset v3.0",
                    found=sorted(row),
                    remedy="get the dataset again, or convert it to v3.0 with lerobot",
                ) from error
    return tuple(sorted(episodes, key=lambda episode: episode.index))


def _columns(root: Path, info: dict[str, Any], episodes: tuple[EpisodeInfo, ...]) -> dict[str, np.ndarray]:
    names = [n for n, f in info["features"].items() if f["dtype"] not in ("image", "video", "string")]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for chunk, file in sorted({episode.data_file for episode in episodes}):
        path = root / info["data_path"].format(**_numbers((chunk, file)))
        table = read_table(path, columns=names)
        for name in names:
            try:
                parts[name].append(vector_values(table[name]))
            except (KeyError, ValueError) as error:
                raise DatasetError(
                    "a column of the table is missing or ragged",
                    file=path,
                    key=name,
                    expected=info["features"][name]["shape"],
                    found=f"{error}",
                    remedy="get the dataset again",
                ) from error
    return {name: np.concatenate(values) for name, values in parts.items()}
