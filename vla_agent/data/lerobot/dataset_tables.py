"""A dataset's tables in memory: episodes, instructions, columns, features, and which file holds each episode."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.claims.file_claims import (
    Status,
    check_manifest,
    compare_with_manifest,
    hash_files,
    identity,
    require_unchanged,
)
from vla_agent.data.lerobot.dataset_files import UNHASHED, read_json
from vla_agent.errors import DatasetError

DRIFT = 0.25  # control periods: beyond it, image and action no longer belong together


@dataclass(frozen=True)
class EpisodeInfo:
    """Where an episode's frames are stored.  ``start`` and ``stop`` count frames over the whole dataset."""

    index: int
    task: str
    start: int
    stop: int
    data_file: tuple[int, int]  # chunk, file
    data_start: int  # the episode's first row within that file
    video_files: dict[str, tuple[int, int]]  # camera -> chunk, file
    video_starts: dict[str, int]  # camera -> the episode's first frame within that file
    video_stops: dict[str, int] = field(default_factory=dict)  # camera -> the frame after its last; v2.1 does not say
    origin: dict[str, Any] = field(default_factory=dict)  # task family, seed, ... where the recorder wrote them

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class DatasetTables:
    """The content of a dataset's tables and JSON files; `dataset_reader.Dataset` adds the images.

    Args:
        root: the dataset's folder.
        info: ``meta/info.json``.
        episodes: in order.
        tasks: ``task_index`` -> instruction; the numbers may have gaps.
        columns: every feature of numbers -> (N, d) or (N,), as `arrays` gives them.
        files: every file of the folder as it was before the first one was read.
    """

    root: Path
    info: dict[str, Any]
    episodes: tuple[EpisodeInfo, ...]
    tasks: dict[int, str]
    columns: dict[str, np.ndarray]
    files: dict[str, Status]

    def __len__(self) -> int:
        return int(self.info["total_frames"])

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def cameras(self) -> tuple[str, ...]:
        features = self.info["features"].items()
        return tuple(
            k.removeprefix(dataset_schema.IMAGE_PREFIX) for k, f in features if f["dtype"] in ("image", "video")
        )

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of episodes and frames in the tables, to which lists of findings are bound."""
        return {"episodes": len(self.episodes), "frames": len(self.columns["index"])}

    @property
    def stats(self) -> dict[str, dict[str, np.ndarray]]:
        """``meta/stats.json``: feature -> min, max, mean, std, count, q01 ... q99; empty where there is none (v2.1).

        Raises:
            DatasetError: it is damaged, or of another form.
        """
        if not (self.root / dataset_schema.STATS).exists():
            return {}
        path = self.root / dataset_schema.STATS
        data = read_json(path, finite=False)
        try:
            return {name: {k: np.asarray(v, np.float64) for k, v in stats.items()} for name, stats in data.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise DatasetError(
                "the statistics of the dataset have another form",
                file=path,
                expected="feature -> min, max, mean, std, ... -> numbers",
                found=f"{type(error).__name__}: {error}",
                remedy="compute the statistics again, or delete the file",
            ) from error

    @property
    def contract(self) -> Contract:
        """The contract that the demonstrations were recorded with.

        Raises:
            DatasetError: there is none (another program wrote the dataset).
            ContractError: it has another version.
        """
        path = self.root / dataset_schema.CONTRACT
        if not path.exists():
            raise DatasetError(
                "the dataset has no contract (cameras, units, frames): another program recorded it",
                file=path,
                expected="a contract",
                found="no such file",
                remedy=f"vla-agent data convert {self.root} --mapping config/data/lerobot_so101.yaml -o NEW, with a "
                "mapping file for your robot (docs/data.md)",
            )
        return Contract.from_dict(read_json(path), file=str(path))

    @property
    def collection(self) -> dict[str, Any]:
        """How it was collected (``meta/collection.json``); empty where there is no such file."""
        path = self.root / dataset_schema.COLLECTION
        return dict(read_json(path)) if path.exists() else {}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the names, sizes and digests of the dataset's files, computed from their bytes.

        Raises:
            DatasetError: a file has changed since the dataset was opened, or is not the one that the manifest states.
        """
        found = hash_files(self.root, self.files, UNHASHED)
        if dataset_schema.MANIFEST in self.files:
            claimed = read_json(self.root / dataset_schema.MANIFEST)
            claimed = check_manifest(self.root, dataset_schema.MANIFEST, claimed)
            compare_with_manifest(self.root, dataset_schema.MANIFEST, claimed, found)
        return identity(found)

    def require_unchanged(self) -> None:
        """Raise where a file of the dataset was written, added or removed since it was opened.

        Raises:
            DatasetError: names the file.
        """
        require_unchanged(self.root, self.files)

    def arrays(self) -> dict[str, np.ndarray]:
        """Every column but the images: feature -> (N, d) float32 or (N,) int64, and ``task`` (N,) strings."""
        numbers, places = np.unique(self.columns["task_index"], return_inverse=True)
        texts = np.array([self.tasks[number] for number in numbers.tolist()], dtype=object)
        return dict(self.columns) | {"task": texts[places.reshape(-1)]}

    def unnamed_files(self) -> list[str]:
        """Parquet files below ``data/`` and videos below ``videos/`` that no episode is stored in, by path."""
        named = {self.data_path(episode.data_file) for episode in self.episodes}
        for episode in self.episodes:
            named |= {self.video_path(camera, file) for camera, file in episode.video_files.items()}
        kinds = {"data": ".parquet", "videos": ".mp4"}
        return sorted(
            name
            for name in self.files
            if kinds.get(Path(name).parts[0]) == Path(name).suffix and self.root / name not in named
        )

    def require_camera(self, camera: str) -> None:
        """Raise unless the dataset has this camera.

        Raises:
            DatasetError: lists the cameras of the dataset.
        """
        if camera not in self.cameras:
            raise DatasetError(
                "the dataset has no such camera",
                file=self.root / dataset_schema.INFO,
                key=dataset_schema.image_key(camera),
                expected=", ".join(self.cameras),
                found=camera,
                remedy="name one of these, or record the dataset with that camera",
            )

    def feature(self, camera: str) -> tuple[str, dict[str, Any]]:
        """A camera's feature name and description."""
        features = self.info["features"]
        key = dataset_schema.image_key(camera) if dataset_schema.image_key(camera) in features else camera
        return key, features[key]

    def image_shape(self, camera: str) -> tuple[int, int, int]:
        """(H, W, 3) of a camera's images, in whichever order its feature states them."""
        return dataset_schema.image_shape(self.feature(camera)[1])

    def data_path(self, file: tuple[int, int]) -> Path:
        """The parquet file with this chunk and file number."""
        return self.root / self.info["data_path"].format(**file_numbers(file))

    def video_path(self, camera: str, file: tuple[int, int]) -> Path:
        """A camera's video with this chunk and file number."""
        key, _ = self.feature(camera)
        return self.root / self.info["video_path"].format(video_key=key, **file_numbers(file))


def first_off_rate(times: np.ndarray, numbers: np.ndarray, fps: float) -> int | None:
    """The first frame whose time is not that of its number: jumps, drift, standstill; None where all are.

    Args:
        times: time stamps (n,) of an episode, seconds, from any moment on.
        numbers: its frames' numbers (n,).
    """
    if not len(times):
        return None
    off = times - times[0] - (numbers - numbers[0]) / fps
    late = np.flatnonzero(~(np.abs(off) <= DRIFT / fps))
    return int(late[0]) if len(late) else None


def file_numbers(file: tuple[int, int]) -> dict[str, int]:
    """Chunk and file under the names that v3.0 and v2.1 (one file per episode) use in their paths."""
    names = ("chunk_index", "file_index", "episode_chunk", "episode_index")
    return dict(zip(names, (*file, *file), strict=True))
