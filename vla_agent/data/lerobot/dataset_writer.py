"""Writes a LeRobotDataset v3.0 folder, episode by episode, without the lerobot package.

Many episodes share a parquet file and an MP4 per camera; ``meta/episodes`` locates each episode in them.  The folder
appears when it is complete.  Besides LeRobot's files it holds ``meta/contract.json`` and ``meta/manifest.json`` (size
and SHA-256 of every file: the dataset's hash is the hash of this list).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_agent.contract import Contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.arrow_columns import png_array, tasks_table, vector_array
from vla_agent.data.lerobot.dataset_files import make_manifest, write_json
from vla_agent.data.lerobot.dataset_stats import IMAGE_STRIDE, Stats, image_stats, vector_stats
from vla_agent.data.lerobot.episode import PNG_STORAGE, EncodedEpisode
from vla_agent.data.lerobot.media import VideoJoiner, video_info
from vla_agent.errors import DatasetError
from vla_agent.files.write_aside import folder_aside


def write_dataset(
    directory: str | PathLike[str],
    contract: Contract,
    episodes: Iterable[EncodedEpisode],
    storage: str,
    robot_type: str | None = None,
    collection: Mapping[str, Any] | None = None,
) -> Path:
    """Write a dataset.  The folder appears when it is complete; an error or a kill leaves none.

    Args:
        directory: the new folder; it must not exist, or be empty.
        contract: cameras, state and action of the episodes; goes to ``meta/contract.json``.
        episodes: encoded with this ``storage``, all with the same columns; consumed one at a time.
        storage: a key of `media.STORAGES`.
        robot_type: a name for ``info.json``.
        collection: how it was collected (plain data); goes to ``meta/collection.json`` and is not part of the hash.

    Raises:
        DatasetError: the folder exists, there are no episodes, one does not fit the contract, or its rate is not whole.
    """
    directory = Path(directory)
    refuse_existing(directory)
    if contract.control_hz != round(contract.control_hz):
        raise DatasetError(
            "a dataset cannot have this rate",
            file=directory,
            key="control_hz",
            expected="a whole number of control periods a second, as LeRobotDataset's fps",
            found=f"{contract.control_hz:g}",
            remedy="record at a whole rate",
        )
    with folder_aside(directory) as aside:
        writer = _Writer(aside, contract, storage)
        try:
            for episode in episodes:
                writer.add(episode)
            writer.finish(robot_type)
        finally:
            writer.close()
        if collection is not None:
            write_json(aside / dataset_schema.COLLECTION, collection)
    return directory


def refuse_existing(directory: Path) -> None:
    """Raise where a dataset (or anything else) would be overwritten.

    Raises:
        DatasetError: the path exists and is not an empty folder.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise DatasetError(
            "the output folder exists",
            file=directory,
            key="-o",
            expected="a folder that does not exist",
            found="a dataset" if (directory / dataset_schema.INFO).exists() else "other files",
            remedy="choose another folder, or delete this one",
        )


def refuse_inside(out: Path, source: Path, option: str = "-o") -> None:
    """Raise where ``out`` would be written into what is only read: a dataset, or another recording.

    Raises:
        DatasetError: it lies in the folder ``source``.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise DatasetError(
            "the output would be written into the original",
            file=out,
            key=option,
            expected=f"a path outside of {source}",
            found="one inside of it",
            remedy="choose another path: the original is only read",
        )


class _Writer:
    """A dataset that is being written: its open files, and one row of metadata per episode.

    Args:
        root: the folder to write into.
        contract: of the episodes.
        storage: a key of `media.STORAGES`.
    """

    def __init__(self, root: Path, contract: Contract, storage: str) -> None:
        self.root, self.contract = root, contract
        self.fps = round(contract.control_hz)
        self.images = storage == PNG_STORAGE
        self.keys = {dataset_schema.image_key(name): name for name in contract.camera_names}
        self.storage = storage
        self.features: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []
        self.columns: dict[str, list[np.ndarray]] = {}
        self.histograms = {key: np.zeros((3, 256), dtype=np.int64) for key in self.keys}
        self.sampled = 0
        self.frames = 0
        self._table: pq.ParquetWriter | None = None
        self._table_bytes = 0
        self._data_file = 0
        self._joiners: dict[str, VideoJoiner] = {}
        self._video_file = dict.fromkeys(self.keys, 0)

    def add(self, episode: EncodedEpisode) -> None:
        """Append an episode."""
        if not self.features:
            present = (name in episode.columns for name in dataset_schema.OPTIONAL)
            self.features = dataset_schema.features(self.contract, self.storage, *present)
        self._check(episode)
        number, length = len(self.rows), episode.length
        columns = {name: np.asarray(values) for name, values in episode.columns.items()}
        columns |= {
            "timestamp": (np.arange(length) / self.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, number),
            "index": np.arange(self.frames, self.frames + length),
            "task_index": np.array([self.tasks.setdefault(t, len(self.tasks)) for t in episode.task_of_frames]),
        }
        tasks = list(dict.fromkeys(episode.task_of_frames))
        row: dict[str, Any] = {"episode_index": number, "tasks": tasks, "length": length}
        row |= self._add_table(columns, episode)
        row |= {"dataset_from_index": self.frames, "dataset_to_index": self.frames + length}
        for key, camera in self.keys.items():
            if not self.images:
                row |= self._add_video(key, episode.videos[camera], length)
        stats = {name: vector_stats(values) for name, values in columns.items()}
        sampled = len(range(0, length, IMAGE_STRIDE))
        for key, camera in self.keys.items():
            stats[key] = image_stats(episode.histograms[camera], sampled)
            self.histograms[key] += episode.histograms[camera]
        self.sampled += sampled
        row |= {f"stats/{name}/{k}": v.tolist() for name, s in stats.items() for k, v in s.items()}
        row |= {f"origin/{name}": value for name, value in episode.origin.items()}
        self.rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(values)
        self.frames += length

    def _check(self, episode: EncodedEpisode) -> None:
        present = (name in self.features for name in dataset_schema.OPTIONAL)
        vectors = dataset_schema.vector_features(self.contract, *present)
        expected = {name: tuple(feature["shape"]) for name, feature in vectors.items()}
        found = {name: values.shape[1:] for name, values in episode.columns.items()}
        cameras = sorted(episode.pngs if self.images else episode.videos)
        if found != expected or cameras != sorted(self.keys.values()):
            raise DatasetError(
                "an episode does not fit the contract",
                key=f"episode {len(self.rows)}",
                expected=f"{expected}, cameras {sorted(self.keys.values())} stored as {self.storage}",
                found=f"{found}, cameras {cameras}",
                remedy="record all episodes with the contract of the dataset",
            )

    def _add_table(self, columns: Mapping[str, np.ndarray], episode: EncodedEpisode) -> dict[str, int]:
        arrays = {}
        for name, feature in self.features.items():
            if feature["dtype"] == "image":
                arrays[name] = png_array(episode.pngs[self.keys[name]])
            elif feature["dtype"] != "video":
                arrays[name] = vector_array(columns[name], feature)
        table = pa.table(arrays)
        limit = dataset_schema.DATA_FILES_SIZE_IN_MB * 2**20
        if self._table is not None and self._table_bytes + table.nbytes > limit:
            self._table.close()
            self._table, self._table_bytes = None, 0
            self._data_file += 1
        location = _file_columns("data", self._data_file)
        if self._table is None:
            chunk, file = divmod(self._data_file, dataset_schema.CHUNKS_SIZE)
            path = self.root / dataset_schema.DATA_PATH.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._table = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._table.write_table(table)
        self._table_bytes += table.nbytes
        return location

    def _add_video(self, key: str, data: bytes, length: int) -> dict[str, Any]:
        joiner = self._joiners.get(key)
        most = dataset_schema.VIDEO_FILES_SIZE_IN_MB * 2**20
        if joiner and (joiner.bytes + len(data) > most or not joiner.continues(data)):
            self._joiners.pop(key).close()
            self._video_file[key] += 1
        location = _file_columns(f"videos/{key}", self._video_file[key])
        if key not in self._joiners:
            path = self._video_path(key, self._video_file[key])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._joiners[key] = VideoJoiner(path, self.fps)
        joiner = self._joiners[key]
        start = joiner.frames
        joiner.append(data, length)
        times = {"from_timestamp": start / self.fps, "to_timestamp": (start + length) / self.fps}
        return location | {f"videos/{key}/{name}": value for name, value in times.items()}

    def _video_path(self, key: str, number: int) -> Path:
        chunk, file = divmod(number, dataset_schema.CHUNKS_SIZE)
        return self.root / dataset_schema.VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)

    def close(self) -> None:
        """Close the files; nothing can be added after that."""
        if self._table is not None:
            self._table.close()
        for joiner in self._joiners.values():
            joiner.close()
        self._table, self._joiners = None, {}

    def finish(self, robot_type: str | None) -> None:
        """Close the files and write everything under ``meta``."""
        self.close()
        if not self.rows:
            raise DatasetError(
                "there are no episodes to write",
                key="episodes",
                expected="at least one episode",
                found=0,
                remedy="collect at least one",
            )
        for key in self.keys:
            if not self.images:
                self.features[key]["info"] = video_info(self._video_path(key, 0), self.fps)
        info = {
            "codebase_version": dataset_schema.CODEBASE_VERSION,
            "robot_type": robot_type,
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": len(self.tasks),
            "chunks_size": dataset_schema.CHUNKS_SIZE,
            "data_files_size_in_mb": dataset_schema.DATA_FILES_SIZE_IN_MB,
            "video_files_size_in_mb": dataset_schema.VIDEO_FILES_SIZE_IN_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": dataset_schema.DATA_PATH,
            "video_path": None if self.images else dataset_schema.VIDEO_PATH,
            "features": self.features,
        }
        stats: dict[str, Stats] = {name: vector_stats(np.concatenate(v)) for name, v in self.columns.items()}
        stats |= {key: image_stats(h, self.sampled) for key, h in self.histograms.items()}
        write_json(self.root / dataset_schema.INFO, info)
        write_json(
            self.root / dataset_schema.STATS, {n: {k: v.tolist() for k, v in s.items()} for n, s in stats.items()}
        )
        write_json(self.root / dataset_schema.CONTRACT, self.contract.to_dict())
        pq.write_table(tasks_table(list(self.tasks)), self.root / dataset_schema.TASKS)
        path = self.root / dataset_schema.EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(self.rows), path)
        write_json(self.root / dataset_schema.MANIFEST, make_manifest(self.root))


def _file_columns(prefix: str, number: int) -> dict[str, int]:
    chunk, file = divmod(number, dataset_schema.CHUNKS_SIZE)
    return {f"{prefix}/chunk_index": chunk, f"{prefix}/file_index": file}
