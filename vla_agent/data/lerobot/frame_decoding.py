"""Decodes a dataset's images from its videos (MP4) or from the PNGs in its parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vla_agent.data.lerobot.claims.table_claims import FILE_BYTES, open_table, read_batches
from vla_agent.data.lerobot.dataset_files import GET_AGAIN
from vla_agent.data.lerobot.dataset_tables import DatasetTables, EpisodeInfo
from vla_agent.data.lerobot.media import decode_png, decode_video
from vla_agent.errors import DatasetError

BYTES = (pa.binary(), pa.large_binary())
UNREADABLE = (OSError, ValueError, IndexError, KeyError, pa.ArrowException)  # av.FFmpegError is an OSError


def decode_frames(dataset: DatasetTables, camera: str, indices: np.ndarray) -> np.ndarray:
    """The images of a camera with these frame numbers (n,), in this order: (n, H, W, 3) uint8.

    Each episode is decoded once, from its first to its last wanted frame.

    Raises:
        DatasetError: a file is damaged, or ends too early.
    """
    out = np.empty((len(indices), *dataset.image_shape(camera)), dtype=np.uint8)
    stops = np.array([episode.stop for episode in dataset.episodes])
    order = np.argsort(indices, kind="stable")
    owner = np.searchsorted(stops, indices[order], side="right")
    for number, group in groupby(range(len(order)), key=lambda k: int(owner[k])):
        positions = order[list(group)]
        episode = dataset.episodes[number]
        wanted = indices[positions] - episode.start
        first, last = int(wanted.min()), int(wanted.max())
        kept: dict[int, Any] = dict.fromkeys(wanted.tolist())
        for k, frame in enumerate(decode_range(dataset, camera, episode, first, last + 1), start=first):
            if k in kept:
                kept[k] = frame
        for position, k in zip(positions, wanted.tolist(), strict=True):
            out[position] = kept[k]
    return out


def decode_range(
    dataset: DatasetTables, camera: str, first: EpisodeInfo, start: int, stop: int
) -> Iterator[np.ndarray]:
    """Frames ``start`` to ``stop`` - 1 in order, each (H, W, 3) uint8.

    Args:
        first: frames are counted from this episode's first; the range may reach into later episodes of the same file.

    Raises:
        DatasetError: the file is damaged, or ends too early.
    """
    key, feature = dataset.feature(camera)
    video, shape = feature["dtype"] == "video", dataset.image_shape(camera)
    file = image_file(camera, first)
    path = dataset.video_path(camera, file) if video else dataset.data_path(file)
    count = 0
    try:
        if video:
            offset = first.video_starts[camera]
            frames = decode_video(path, offset + start, offset + stop, dataset.fps)
        else:
            pngs = _read_pngs(path, key, first.data_start + start, first.data_start + stop)
            frames = (decode_png(data) for data in pngs)
        for frame in frames:
            if frame.shape != shape:
                raise ValueError(f"an image of {frame.shape}, not {shape}")
            yield frame
            count += 1
    except UNREADABLE as error:
        raise _undecodable(path, key, first.start + start + count, error) from error
    if count != stop - start:
        raise DatasetError(
            "images are missing",
            file=path,
            key=key,
            expected=f"frames {first.start + start} to {first.start + stop - 1} of the dataset",
            found=f"{count} of {stop - start}",
            remedy=f"the file is damaged: {GET_AGAIN}",
        )


def encoded_images(dataset: DatasetTables, camera: str, episode: EpisodeInfo, start: int, stop: int) -> Iterator[bytes]:
    """Frames ``start`` to ``stop`` - 1 of an episode as they are stored in its parquet file: PNG or JPEG bytes."""
    path, (key, _) = dataset.data_path(image_file(camera, episode)), dataset.feature(camera)
    count = 0
    try:
        for data in _read_pngs(path, key, episode.data_start + start, episode.data_start + stop):
            yield data
            count += 1
    except UNREADABLE as error:
        raise _undecodable(path, key, episode.start + start + count, error) from error


def _undecodable(path: Path, key: str, frame: int, error: Exception) -> DatasetError:
    return DatasetError(
        "an image cannot be decoded",
        file=path,
        key=key,
        expected=f"frame {frame} of the dataset",
        found=f"{type(error).__name__}: {error}",
        remedy=f"the file is damaged: {GET_AGAIN}",
    )


def image_file(camera: str, episode: EpisodeInfo) -> tuple[int, int]:
    """Chunk and file that hold an episode's images: its video, or its parquet file."""
    return episode.video_files.get(camera, episode.data_file)


def _read_pngs(path: Path, key: str, start: int, stop: int) -> Iterator[bytes]:
    """The encoded images of some rows, a few at a time; only the row groups that hold them are read."""
    with open_table(path) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = [i for i, end in enumerate(ends) if end > start and end - sizes[i] < stop]
        if not groups:
            return
        place = int(ends[groups[0]] - sizes[groups[0]])
        for batch in read_batches(path, file, [key], groups, most=FILE_BYTES):
            column = batch[key]
            kind = column.type
            if (
                not pa.types.is_struct(kind)
                or kind.get_field_index("bytes") < 0
                or kind.field("bytes").type not in BYTES
            ):
                raise ValueError(f"a column of {kind}, not of images")
            begin, end = max(start - place, 0), max(stop - place, 0)
            for data in column.field("bytes").slice(begin, end - begin):
                if not data.is_valid:
                    raise ValueError("a row without the bytes of its image")
                yield data.as_py()
            place += len(batch)
