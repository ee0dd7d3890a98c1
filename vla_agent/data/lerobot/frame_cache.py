"""A cache of decoded images on disk: one ``.npy`` file per dataset and camera, named by the dataset's hash.

A training reads every image many times, in random order.  They are decoded once, and the file is mapped into memory:
each read is then a copy of bytes.  The file may be deleted at any time; it is made again when it is needed.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from vla_agent.data.lerobot.dataset_tables import DatasetTables, EpisodeInfo
from vla_agent.data.lerobot.frame_decoding import decode_range, image_file
from vla_agent.errors import DatasetError
from vla_agent.files.write_aside import file_aside

BATCH = 16  # episodes that one thread decodes at a time
RESERVE = 2**28  # bytes that stay free on the disk
PATTERNS = ("frames-*.npy", ".frames-*.npy.*.tmp")  # whole files, and what a killed process left
_announced: set[tuple[Path, str]] = set()  # caches and datasets that this process has reported


def default_cache() -> Path:
    """``$VLA_AGENT_CACHE``, or ``~/.cache/vla_agent``."""
    return Path(os.environ.get("VLA_AGENT_CACHE") or Path.home() / ".cache" / "vla_agent")


class Resize(NamedTuple):
    """How images are resized before they are kept."""

    size: tuple[int, int]  # height, width
    change: Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (height, width, 3) uint8


def cached_frames(
    dataset: DatasetTables, camera: str, folder: Path, workers: int, resize: Resize | None = None
) -> np.ndarray:
    """All images of a camera (N, H, W, 3) uint8 as a read-only memory map; decoded first where they are not cached.

    Args:
        folder: the cache.
        workers: threads that decode.
        resize: keeps the images in another size; None: in their own.

    Raises:
        DatasetError: a damaged file, or too little space on the disk.
    """
    shape = (len(dataset), *dataset.image_shape(camera))
    resize = None if resize is None or resize.size == shape[1:3] else resize
    if resize is not None:
        shape = (len(dataset), *resize.size, 3)
    size = "" if resize is None else "-{}x{}".format(*resize.size)
    path = folder / f"frames-{dataset.hash[:20]}-{camera}{size}.npy"
    if not _is_whole(path, shape):
        _fill(dataset, camera, workers, path, shape, resize)
    return np.load(path, mmap_mode="r")


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a file of the cache holds images of this shape (N, H, W, 3)."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return False
    return stored.shape == shape and stored.dtype == np.uint8


def cache_size(folder: Path) -> int:
    """Bytes that the decoded images in a cache take; 0 where there is no cache."""
    return sum(path.stat().st_size for path in _cache_files(folder))


def clear_cache(folder: Path) -> int:
    """Delete the decoded images in a cache; other files stay.

    A training that has mapped a file keeps its images; one that is just decoding fails, and finds what it needs when it
    is resumed.

    Returns:
        The number of bytes freed.
    """
    freed = 0
    for path in _cache_files(folder):
        freed += path.stat().st_size
        path.unlink()
    return freed


def _cache_files(folder: Path) -> list[Path]:
    return [path for pattern in PATTERNS for path in folder.glob(pattern)]


def _fill(
    dataset: DatasetTables, camera: str, workers: int, path: Path, shape: tuple[int, ...], resize: Resize | None
) -> None:
    """Decode all images of a camera into ``path``."""
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    need, free = math.prod(shape), shutil.disk_usage(folder).free
    if free < need + RESERVE:
        raise DatasetError(
            "too little space on the disk for the decoded images",
            file=folder,
            key="VLA_AGENT_CACHE",
            expected=f"{need / 1e9:.1f} GB free",
            found=f"{free / 1e9:.1f} GB free",
            remedy="set VLA_AGENT_CACHE to a folder with more space, or free some: vla-agent cache clear",
        )
    _announce(dataset, folder, resize)
    with file_aside(path) as aside:
        out = open_memmap(aside, mode="w+", dtype=np.uint8, shape=shape)

        def decode(episodes: list[EpisodeInfo]) -> None:
            first, last = episodes[0], episodes[-1]
            frames = decode_range(dataset, camera, first, 0, last.stop - first.start)
            for k, frame in enumerate(frames, start=first.start):
                out[k] = frame if resize is None else resize.change(frame)

        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(decode, _batches(dataset, camera)):
                pass
        out.flush()
        dataset.require_unchanged()  # else the images are not those of the hash


def _announce(dataset: DatasetTables, folder: Path, resize: Resize | None) -> None:
    """Say once per dataset on stderr where the cache lies and how large it gets."""
    if (folder, dataset.hash) in _announced:
        return
    _announced.add((folder, dataset.hash))
    own = {camera: dataset.image_shape(camera) for camera in dataset.cameras}
    size = sum(len(dataset) * math.prod(shape if resize is None else (*resize.size, 3)) for shape in own.values())
    cameras = ", ".join(dataset.cameras)
    print(
        f"decoding the images of {dataset.root} ({cameras}) once, up to {size / 1e6:,.1f} MB, into the cache {folder} "
        "(vla-agent cache clear deletes them)",
        file=sys.stderr,
        flush=True,
    )


def _batches(dataset: DatasetTables, camera: str) -> Iterator[list[EpisodeInfo]]:
    """Runs of at most `BATCH` episodes that follow each other in one file: the file is opened once per run."""

    def run_key(episode: EpisodeInfo) -> tuple[object, int]:
        offset = episode.video_starts.get(camera, episode.data_start) - episode.start
        return image_file(camera, episode), offset

    for _, group in groupby(dataset.episodes, key=run_key):
        episodes = list(group)
        yield from (episodes[i : i + BATCH] for i in range(0, len(episodes), BATCH))
