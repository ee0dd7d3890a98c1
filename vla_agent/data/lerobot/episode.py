"""One recorded episode: as arrays, encoded, and as a part file (an encoded episode that is not yet in a dataset)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.lerobot.dataset_stats import image_histogram
from vla_agent.data.lerobot.media import STORAGES, encode_png, encode_video
from vla_agent.errors import DatasetError
from vla_agent.files.bounded_arrays import read_arrays
from vla_agent.files.bounded_reading import parse_json
from vla_agent.files.write_aside import file_aside

PNG_STORAGE = "images"


@dataclass(frozen=True)
class Episode:
    """An episode of n frames as it was recorded.

    Args:
        task: the instruction; where it changes, the first one.
        columns: feature name -> (n, d) float32.
        images: camera -> (n, H, W, 3) uint8.
        origin: where it comes from (task family, seed; plain data); stored with the episode.
        frame_tasks: the instruction of each frame, n texts; empty where it is ``task`` throughout.
    """

    task: str
    columns: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray]
    origin: Mapping[str, Any] = field(default_factory=dict)
    frame_tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedEpisode:
    """An episode whose images are encoded: camera -> one MP4, or n PNGs."""

    task: str
    columns: Mapping[str, np.ndarray]
    videos: Mapping[str, bytes]
    pngs: Mapping[str, list[bytes]]
    histograms: Mapping[str, np.ndarray]  # camera -> (3, 256), see dataset_stats.image_histogram
    origin: Mapping[str, Any]
    frame_tasks: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def task_of_frames(self) -> tuple[str, ...]:
        """The instruction of each frame, n texts."""
        return self.frame_tasks or (self.task,) * self.length


def encode(episode: Episode, storage: str, fps: int) -> EncodedEpisode:
    """Encode an episode's images.  ``storage`` is a key of `media.STORAGES`.

    Raises:
        DatasetError: arrays of different lengths, no frames, no instruction, NaN, or an unknown storage.
    """
    if storage not in STORAGES:
        raise DatasetError("there is no such storage", key="storage", expected=", ".join(STORAGES), found=storage)
    _check(episode)
    video = STORAGES[storage]
    images = {camera: np.ascontiguousarray(frames) for camera, frames in episode.images.items()}
    return EncodedEpisode(
        task=episode.task,
        columns={name: np.asarray(values, dtype=np.float32) for name, values in episode.columns.items()},
        videos={c: encode_video(f, fps, video) for c, f in images.items()} if video else {},
        pngs={} if video else {c: [encode_png(image) for image in f] for c, f in images.items()},
        histograms={camera: image_histogram(frames) for camera, frames in images.items()},
        origin=dict(episode.origin),
        frame_tasks=episode.frame_tasks,
    )


def save_part(path: str | PathLike[str], episode: EncodedEpisode) -> None:
    """Write an encoded episode as one ``.npz`` (arrays only, nothing pickled), whole or not at all."""
    path = Path(path)
    tasks = {"frame_tasks": episode.frame_tasks} if episode.frame_tasks else {}
    head = json.dumps({"task": episode.task, "origin": dict(episode.origin), **tasks}, sort_keys=True)
    arrays: dict[str, np.ndarray] = {"head": np.frombuffer(head.encode(), dtype=np.uint8)}
    arrays |= {f"column/{name}": values for name, values in episode.columns.items()}
    arrays |= {f"histogram/{camera}": values for camera, values in episode.histograms.items()}
    arrays |= {f"video/{camera}": np.frombuffer(data, dtype=np.uint8) for camera, data in episode.videos.items()}
    for camera, pngs in episode.pngs.items():
        arrays[f"png/{camera}"] = np.frombuffer(b"".join(pngs), dtype=np.uint8)
        arrays[f"sizes/{camera}"] = np.array([len(png) for png in pngs])
    with file_aside(path) as aside, open(aside, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes names for options


def load_part(path: str | PathLike[str]) -> EncodedEpisode:
    """Read what `save_part` wrote.

    Raises:
        DatasetError: the file is damaged, or holds more than any episode does.
    """
    try:
        arrays = read_arrays(path, DatasetError)
        head = parse_json(arrays["head"].tobytes(), path, DatasetError)
        groups = _grouped(arrays)
        pngs = {c: _split(data.tobytes(), groups["sizes"][c]) for c, data in groups.get("png", {}).items()}
        return EncodedEpisode(
            task=head["task"],
            columns=groups["column"],
            videos={camera: data.tobytes() for camera, data in groups.get("video", {}).items()},
            pngs=pngs,
            histograms=groups["histogram"],
            origin=head["origin"],
            frame_tasks=tuple(head.get("frame_tasks", ())),
        )
    except DatasetError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and json each raise their own
        raise DatasetError(
            "an episode's part file cannot be read",
            file=path,
            expected="a complete .npz file of vla-agent collect",
            found=f"{type(error).__name__}: {error}",
            remedy="delete this file and run the same command with --resume: the episode is recorded again",
        ) from error


def _check(episode: Episode) -> None:
    lengths = {name: len(values) for name, values in (*episode.columns.items(), *episode.images.items())}
    if episode.frame_tasks:
        lengths["frame_tasks"] = len(episode.frame_tasks)
    for text in dict.fromkeys((episode.task, *episode.frame_tasks)):
        if not text.strip():
            remedy = "say what is done in this episode"
            what, expected = "an episode has no instruction", "a sentence"
            raise DatasetError(what, key="task", expected=expected, found=repr(text), remedy=remedy)
        if not text.isascii() and text.encode(errors="ignore").decode() != text:
            what, remedy = "an instruction holds half a letter", "write the instruction again"
            raise DatasetError(what, key="task", expected="text of whole letters", found=ascii(text), remedy=remedy)
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise DatasetError(
            "an episode's arrays have different lengths, or no frames",
            key="length",
            expected="one length, at least 1",
            found=lengths,
            remedy="leave the episode out, or record it again",
        )
    for name, values in episode.columns.items():
        if not np.isfinite(values).all():
            raise DatasetError(
                "an episode holds NaN or infinity",
                key=name,
                expected="finite numbers",
                found="NaN or inf",
                remedy="leave the episode out, or record it again",
            )
    for camera, frames in episode.images.items():
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise DatasetError(
                "an episode's images have a wrong shape or type",
                key=camera,
                expected="(n, H, W, 3) uint8",
                found=f"{frames.shape} {frames.dtype}",
                remedy="give RGB bytes",
            )


def _grouped(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """``{"column/action": a}`` -> ``{"column": {"action": a}}``."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, values in arrays.items():
        group, _, key = name.partition("/")
        if key:
            groups.setdefault(group, {})[key] = values
    return groups


def _split(data: bytes, sizes: np.ndarray) -> list[bytes]:
    """Joined PNGs as one bytes object each."""
    ends = np.cumsum(sizes)
    return [data[end - size : end] for size, end in zip(sizes, ends, strict=True)]
