"""Pictures of a dataset: some, in any order, or all of a camera into a memory map that is made once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.format import open_memmap

from vla_agent.data.lerobot.dataset_tables import DatasetTables, EpisodeInfo
from vla_agent.data.lerobot.media import decode_png, decode_video
from vla_agent.errors import DatasetError

BATCH = 16  # episodes that one thread decodes at a time


def default_cache() -> Path:
    """``$VLA_AGENT_CACHE``, or ``~/.cache/vla_agent``."""
    return Path(os.environ.get("VLA_AGENT_CACHE") or Path.home() / ".cache" / "vla_agent")


def read_frames(dataset: DatasetTables, camera: str, indices: np.ndarray) -> np.ndarray:
    """The pictures with these frame numbers, in this order (n, H, W, 3) uint8."""
    out = np.empty((len(indices), *dataset.feature(camera)[1]["shape"]), dtype=np.uint8)
    stops = np.array([episode.stop for episode in dataset.episodes])
    order = np.argsort(indices, kind="stable")
    owner = np.searchsorted(stops, indices[order], side="right")
    for number, group in groupby(range(len(order)), key=lambda k: int(owner[k])):
        places = order[list(group)]
        episode = dataset.episodes[number]
        wanted = indices[places] - episode.start
        first, last = int(wanted.min()), int(wanted.max())
        kept = dict.fromkeys(wanted.tolist())
        for k, frame in enumerate(_read(dataset, camera, episode, first, last + 1), start=first):
            if k in kept:
                kept[k] = frame
        for place, k in zip(places, wanted.tolist(), strict=True):
            out[place] = kept[k]
    return out


class FrameCache:
    """Decoded pictures on disk, one ``.npy`` per dataset and camera, named by the dataset's hash.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, dataset: DatasetTables, camera: str, workers: int) -> np.ndarray:
        """The pictures (N, H, W, 3) uint8, read-only; decoded first where they are not there yet.

        Raises:
            DatasetError: a damaged file, or too little room on the disk.
        """
        path = self.folder / f"frames-{dataset.hash[:20]}-{camera}.npy"
        if not path.exists():
            self._fill(dataset, camera, workers, path)
        return np.load(path, mmap_mode="r")

    def _fill(self, dataset: DatasetTables, camera: str, workers: int, path: Path) -> None:
        shape = (len(dataset), *dataset.feature(camera)[1]["shape"])
        self.folder.mkdir(parents=True, exist_ok=True)
        need, free = int(np.prod(shape)), shutil.disk_usage(self.folder).free
        if free < need + 2**28:
            raise DatasetError(
                "too little room on the disk for the decoded pictures",
                file=self.folder,
                key="VLA_AGENT_CACHE",
                expected=f"{need / 1e9:.1f} GB free",
                found=f"{free / 1e9:.1f} GB free",
                remedy="set VLA_AGENT_CACHE to a folder with room, or delete old frames-*.npy there",
            )
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            out = open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)

            def decode(episodes: list[EpisodeInfo]) -> None:
                first, last = episodes[0], episodes[-1]
                frames = _read(dataset, camera, first, 0, last.stop - first.start)
                for k, frame in enumerate(frames, start=first.start):
                    out[k] = frame

            with ThreadPoolExecutor(workers) as pool:
                for _ in pool.map(decode, _batches(dataset, camera)):
                    pass
            out.flush()
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _file(camera: str, episode: EpisodeInfo) -> tuple[int, int]:
    """Chunk and file that hold an episode's pictures."""
    return episode.video_files.get(camera, episode.data_file)


def _batches(dataset: DatasetTables, camera: str) -> Iterator[list[EpisodeInfo]]:
    """Runs of at most `BATCH` episodes that follow each other in one file: the file is opened once per run."""

    def place(episode: EpisodeInfo) -> tuple[object, int]:
        return _file(camera, episode), episode.video_starts.get(camera, episode.data_start) - episode.start

    for _, group in groupby(dataset.episodes, key=place):
        episodes = list(group)
        yield from (episodes[i : i + BATCH] for i in range(0, len(episodes), BATCH))


def _read(dataset: DatasetTables, camera: str, first: EpisodeInfo, start: int, stop: int) -> Iterator[np.ndarray]:
    """Frames ``start`` to ``stop`` - 1, counted from an episode's first; all in the same file.

    Raises:
        DatasetError: the file is damaged, or ends too early.
    """
    key, feature = dataset.feature(camera)
    video = feature["dtype"] == "video"
    file = _file(camera, first)
    path = dataset.video_path(camera, file) if video else dataset.data_path(file)
    count = 0
    try:
        if video:
            offset = first.video_starts[camera]
            for frame in decode_video(path, offset + start, offset + stop, dataset.fps):
                count += 1
                yield frame
        else:
            for data in _pngs(path, key, first.data_start + start, first.data_start + stop):
                yield decode_png(data)
                count += 1
    except (OSError, pa.ArrowException) as error:  # av.FFmpegError and PIL.UnidentifiedImageError are OSErrors
        raise DatasetError(
            "a picture cannot be decoded",
            file=path,
            key=key,
            expected=f"frame {first.start + start + count} of the dataset",
            found=f"{type(error).__name__}: {error}",
            remedy="the file is damaged: get the dataset again",
        ) from error
    if count != stop - start:
        raise DatasetError(
            "pictures are missing",
            file=path,
            key=key,
            expected=f"frames {first.start + start} to {first.start + stop - 1} of the dataset",
            found=f"{count} of {stop - start}",
            remedy="the file is damaged: get the dataset again",
        )


def _pngs(path: Path, key: str, start: int, stop: int) -> list[bytes]:
    """The encoded pictures of some rows: only the row groups that hold them are read."""
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = [i for i, end in enumerate(ends) if end > start and end - sizes[i] < stop]
        column = file.read_row_groups(groups, columns=[key])[key]
    skip = start - int(ends[groups[0]] - sizes[groups[0]])
    return column.slice(skip, stop - start).combine_chunks().field("bytes").to_pylist()
