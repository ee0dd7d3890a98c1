"""Reads LeRobotDataset v3.0 (and v2.1) folders without the lerobot package: whole columns, any frames, all frames.

`load` reads and checks everything but the pictures, so that what is wrong shows before a training starts::

    dataset = load("datasets/tabletop")
    columns = dataset.arrays()                        # "observation.state" (N, 17), "action" (N, 7), "task" (N,), ...
    pictures = dataset.frames("front", [0, 17, 4])    # (3, H, W, 3) uint8
    everything = dataset.decode_all("front")          # (N, H, W, 3) uint8 memory map, made once
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.lerobot import dataset_schema, lerobot_v21
from vla_agent.data.lerobot.arrow_columns import task_list, vector_values
from vla_agent.data.lerobot.dataset_checks import check_columns, check_info, check_sizes, check_videos
from vla_agent.data.lerobot.dataset_files import read_table
from vla_agent.data.lerobot.dataset_tables import DatasetTables, EpisodeInfo, file_numbers
from vla_agent.data.lerobot.frame_cache import FrameCache, default_cache, read_frames
from vla_agent.errors import DatasetError


class Dataset(DatasetTables):
    """A checked dataset.  Made by `load`."""

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
    """Read a dataset's tables; nothing in them is checked (see `validate.validate` for all findings at once).

    Raises:
        DatasetError: a file is missing or cannot be read at all.
    """
    root = Path(directory)
    info = check_info(root)
    if info["codebase_version"] == dataset_schema.EARLIER_VERSION:
        tasks, episodes = lerobot_v21.tasks(root), lerobot_v21.episodes(root, info, EpisodeInfo)
    else:
        tasks, episodes = _tasks(root), _episodes(root, info)
    return Dataset(root, info, episodes, tasks, _columns(root, info, episodes))


def _tasks(root: Path) -> tuple[str, ...]:
    path = root / dataset_schema.TASKS
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
    first = root / dataset_schema.EPISODES_PATH.format(chunk_index=0, file_index=0)
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet")) or [first]
    videos = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    fps = info["fps"]
    cameras = {key.removeprefix(dataset_schema.IMAGE_PREFIX): f"videos/{key}" for key in videos}
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
        path = root / info["data_path"].format(**file_numbers((chunk, file)))
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
