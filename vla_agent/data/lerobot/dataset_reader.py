"""Reads LeRobotDataset v3.0 (v2.1, v2.0) folders without the lerobot package: whole columns, any frames, all frames.

`load` reads and checks everything but the images, so that defects show before a training starts::

    dataset = load("datasets/tabletop")
    columns = dataset.arrays()                         # "observation.state" (N, 17), "action" (N, 7), "task" (N,), ...
    some_images = dataset.frames("front", [0, 17, 4])  # (3, H, W, 3) uint8
    all_images = dataset.decode_all("front")           # (N, H, W, 3) uint8 memory map, decoded once
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.lerobot import dataset_schema, lerobot_v21, lerobot_v30
from vla_agent.data.lerobot.arrow_columns import vector_values
from vla_agent.data.lerobot.claims.file_claims import list_files
from vla_agent.data.lerobot.dataset_checks import check_columns, check_info, check_sizes, check_videos
from vla_agent.data.lerobot.dataset_files import GET_AGAIN, read_table
from vla_agent.data.lerobot.dataset_tables import DatasetTables, EpisodeInfo, file_numbers
from vla_agent.data.lerobot.frame_cache import Resize, cached_frames, default_cache
from vla_agent.data.lerobot.frame_decoding import decode_frames
from vla_agent.errors import DatasetError
from vla_agent.files.input_limits import COLUMNS_BYTES, COLUMNS_RATIO


class Dataset(DatasetTables):
    """A dataset: its tables, and its images on demand.  Made by `load` (checked) or `read` (unchecked)."""

    def frames(self, camera: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images with these frame numbers, in this order: (n, H, W, 3) uint8.

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
        return decode_frames(self, camera, indices)

    def decode_all(
        self,
        camera: str,
        workers: int = 2,
        cache: str | PathLike[str] | None = None,
        resize: Resize | None = None,
    ) -> np.ndarray:
        """All images of a camera as a read-only memory map (N, H, W, 3) uint8, decoded at the first call.

        Args:
            camera: one of `cameras`.
            workers: threads that decode.
            cache: folder for the decoded images; default ``$VLA_AGENT_CACHE`` or ``~/.cache/vla_agent``.
            resize: to another size, in which they are kept; None: their own.

        Raises:
            DatasetError: no such camera, a damaged file, or too little space on the disk.
        """
        self.require_camera(camera)
        return cached_frames(self, camera, Path(cache) if cache else default_cache(), workers, resize)


def load(directory: str | PathLike[str]) -> Dataset:
    """Open a dataset and check it: version, files, tables, indices, NaN, contract, length of the videos.

    Raises:
        DatasetError: names file, key, what was expected and found, and the remedy.
        ContractError: the dataset's contract has another version.
    """
    root = Path(directory)
    check_info(root)
    check_sizes(root)
    dataset = read(root)
    check_columns(dataset)
    check_videos(dataset)
    return dataset


def read(directory: str | PathLike[str]) -> Dataset:
    """Read a dataset's tables without checking them (see `validate.validate` for all findings at once).

    Raises:
        DatasetError: a file is missing or cannot be read at all.
    """
    root = Path(directory)
    files = list_files(root)
    info = check_info(root)
    version = lerobot_v21 if info["codebase_version"] in dataset_schema.EARLIER_VERSIONS else lerobot_v30
    tasks, episodes = version.read_tasks(root), version.read_episodes(root, info)
    return Dataset(root, info, episodes, tasks, _read_columns(root, info, episodes), files)


def _read_columns(root: Path, info: dict[str, Any], episodes: tuple[EpisodeInfo, ...]) -> dict[str, np.ndarray]:
    """Every column of numbers, over all data files: feature -> (N, d) or (N,)."""
    names = [n for n, f in info["features"].items() if f["dtype"] not in ("image", "video", "string")]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    taken = stored = 0
    for chunk, file in sorted({episode.data_file for episode in episodes}):
        path = root / info["data_path"].format(**file_numbers((chunk, file)))
        table = read_table(path, columns=names)
        taken, stored = taken + table.nbytes, stored + path.stat().st_size
        if taken > max(COLUMNS_BYTES, COLUMNS_RATIO * stored):
            raise DatasetError(
                "the columns of the dataset take more memory than their files can honestly hold",
                file=path,
                key="columns",
                expected=f"at most {COLUMNS_BYTES:,} bytes, or {COLUMNS_RATIO} times the files",
                found=f"{taken:,} bytes from files of {stored:,}",
                remedy=GET_AGAIN,
            )
        for name in names:
            column = _column(path, table, name, info["features"][name]["shape"])
            if parts[name] and parts[name][0].shape[1:] != column.shape[1:]:
                raise DatasetError(
                    "a column has another shape than in the file before",
                    file=path,
                    key=name,
                    expected=("rows", *parts[name][0].shape[1:]),
                    found=column.shape,
                    remedy=GET_AGAIN,
                )
            parts[name].append(column)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _column(path: Path, table: Any, name: str, shape: list[int]) -> np.ndarray:
    """One column of one file: (n, d), or (n,) where it has one component, also where that is in a list of one."""
    try:
        values = vector_values(table[name])
    except (KeyError, ValueError) as error:
        raise DatasetError(
            "a column of the table is missing or ragged",
            file=path,
            key=name,
            expected=shape,
            found=f"{error}",
            remedy=GET_AGAIN,
        ) from error
    return values[:, 0] if values.shape[1:] == (1,) and math.prod(shape) == 1 else values
