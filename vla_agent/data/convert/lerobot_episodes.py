"""Episodes of a LeRobotDataset of another program (v3.0, v2.1), by the features that a mapping picks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert.conversion_report import (
    FAILED,
    UNNAMED,
    ConvertedEpisode,
    LeaveOut,
    apart_from_hidden,
    other_rate,
    told_instructions,
)
from vla_agent.data.convert.field_vectors import Counts, Forward, field_values, vectors
from vla_agent.data.convert.mapping import CameraSource, FieldSource, Mapping
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, load
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo, first_off_rate
from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import DatasetError
from vla_agent.robot.cameras.crop import center_crop

BLOCK = 64  # images in memory at their recorded size


def find_datasets(path: Path) -> tuple[list[Path], dict[Path, str]]:
    """A dataset's folder, or all in a folder and below, by path; and what is left out, with the reason."""
    complete = {info.parent.parent for info in path.rglob(dataset_schema.INFO)}
    found, left_out = apart_from_hidden(path, complete)
    tables = {table.parent.parent for name in ("tasks", "episodes") for table in path.rglob(f"meta/{name}*")}
    return found, left_out | dict.fromkeys(sorted(tables - complete), f"no {dataset_schema.INFO}")


def lerobot_episodes(
    path: Path, mapping: Mapping, forward: Forward | None, excluded: LeaveOut
) -> Iterator[ConvertedEpisode]:
    """The episodes of one dataset, and the files that no table of it names.

    ``excluded`` is asked with an episode's number, or a file's path.

    Raises:
        DatasetError: the dataset is damaged or of another rate, or a feature does not fit the mapping.
    """
    dataset = load(path)
    if dataset.fps != mapping.control_hz:
        raise DatasetError(
            "the dataset has another rate than the mapping",
            file=path / dataset_schema.INFO,
            key="fps",
            expected=f"control_hz: {mapping.control_hz}",
            found=f"{dataset.fps:g}",
            remedy=other_rate(dataset.fps),
        )
    columns = {field: _columns(dataset, field) for field in (*mapping.state, *mapping.action)}
    cameras = {camera: _camera(dataset, camera) for camera in mapping.cameras}
    for name in dataset.unnamed_files():
        yield None, {"from": f"{path.name}/{name}", "success": None, "left_out": excluded(name) or UNNAMED}
    for episode in dataset.episodes:
        report: dict[str, Any] = {"from": path.name, "number": episode.index}
        if reason := excluded(episode.index):
            yield None, report | {"success": None, "left_out": reason}
            continue
        report["success"] = _success(dataset, episode, mapping)
        if mapping.keep == "success" and not report["success"]:
            yield None, report | {"left_out": FAILED}
        elif (off := _off_rate(dataset, episode)) is not None:
            yield None, report | {"left_out": off}
        elif episode.length < mapping.fewest:
            yield None, report | {"frames": episode.length, "left_out": f"only {episode.length} frames"}
        else:
            images = {camera.name: _images(dataset, episode, camera, name) for camera, name in cameras.items()}
            counts: Counts = defaultdict(dict)
            made, images = vectors(mapping, partial(_values, dataset, episode, columns, forward, counts), images)
            length = len(made[dataset_schema.ACTION])
            tasks = _instructions(dataset, episode, mapping)[:length]
            report |= {"frames": length, "values": {k: v for k, v in counts.items() if v}, **told_instructions(tasks)}
            origin = {"source": path.name, "number": episode.index}
            yield Episode(tasks[0], made, images, origin, tasks if len(set(tasks)) > 1 else ()), report


def _off_rate(dataset: Dataset, episode: EpisodeInfo) -> str | None:
    """Why the time stamps are not those of the rate; None where they are."""
    rows = slice(episode.start, episode.stop)
    times, numbers = dataset.columns["timestamp"][rows].astype(float), dataset.columns["frame_index"][rows]
    k = first_off_rate(times, numbers, dataset.fps)
    return None if k is None else f"time stamps: {times[k]:.3f} s in frame {k}, not its time at {dataset.fps:g} Hz"


def _values(
    dataset: Dataset,
    episode: EpisodeInfo,
    columns: dict[FieldSource, np.ndarray],
    forward: Forward | None,
    counts: Counts,
    part: str,
    field: FieldSource,
) -> np.ndarray:
    picked = columns[field][episode.start : episode.stop]
    where = f"{dataset.root}, episode {episode.index}"
    return field_values(field, picked, forward, where, counts[f"{part}.{field.name}"])


def _feature(dataset: Dataset, at: str, images: bool) -> dict[str, Any]:
    features: dict[str, dict[str, Any]] = dataset.info["features"]
    names = [k for k, f in features.items() if (f["dtype"] in ("image", "video")) == images and f["dtype"] != "string"]
    if at not in names:
        raise DatasetError(
            "the dataset lacks a feature of the mapping",
            file=dataset.root / dataset_schema.INFO,
            key=at,
            expected="one of its cameras" if images else "one of its columns of numbers",
            found=", ".join(names) or "none",
            remedy="correct at in the mapping file",
        )
    return features[at]


def _columns(dataset: Dataset, field: FieldSource) -> np.ndarray:
    """The components (N, P) that a field picks from its feature, by name or number."""
    described = _feature(dataset, field.at, images=False)
    names = dataset_schema.component_names(described)
    values = dataset.columns[field.at].reshape(len(dataset), -1).astype(np.float64)
    wrong = [p for p in field.pick if (p not in names if isinstance(p, str) else p >= values.shape[1])]
    if wrong:
        raise DatasetError(
            "a feature of the dataset lacks a component of the mapping",
            file=dataset.root / dataset_schema.INFO,
            key=f"{field.at}: {', '.join(map(str, wrong))}",
            expected="its names or numbers",
            found=", ".join(f"{k} {names[k]}" if names else str(k) for k in range(values.shape[1])),
            remedy=f"correct pick of {field.name} in the mapping file",
        )
    twice = [p for p in field.pick if isinstance(p, str) and names.count(p) > 1]
    if twice:
        raise DatasetError(
            "a name of the mapping belongs to several components",
            file=dataset.root / dataset_schema.INFO,
            key=f"{field.at}: {', '.join(twice)}",
            expected="one component of this name",
            found=", ".join(f"{k} {name}" for k, name in enumerate(names)),
            remedy=f"give the components' numbers in pick of {field.name}",
        )
    return values[:, [names.index(p) if isinstance(p, str) else p for p in field.pick]]


def _camera(dataset: Dataset, camera: CameraSource) -> str:
    """The dataset's name of a camera."""
    _feature(dataset, camera.at, images=True)
    return camera.at.removeprefix(dataset_schema.IMAGE_PREFIX)


def _images(dataset: Dataset, episode: EpisodeInfo, camera: CameraSource, name: str) -> np.ndarray:
    """A camera's images (n, H, W, 3) uint8 at the mapping's size."""
    images = np.empty((episode.length, camera.height, camera.width, 3), np.uint8)
    for first in range(0, episode.length, BLOCK):
        last = min(first + BLOCK, episode.length)
        frames = dataset.frames(name, range(episode.start + first, episode.start + last))
        images[first:last] = [center_crop(frame, (camera.height, camera.width)) for frame in frames]
    return camera.upright(images)


def _success(dataset: Dataset, episode: EpisodeInfo, mapping: Mapping) -> bool:
    success = mapping.success
    if success is None or success.dataset is None:
        return True
    _feature(dataset, success.dataset, images=False)
    return bool((dataset.columns[success.dataset][episode.start : episode.stop] >= success.at_least).any())


def _instructions(dataset: Dataset, episode: EpisodeInfo, mapping: Mapping) -> tuple[str, ...]:
    """The instruction of each frame."""
    numbers = dataset.columns["task_index"][episode.start : episode.stop].tolist()
    texts = [mapping.instruction.text or dataset.tasks[number] for number in numbers]
    empty = [k for k, text in enumerate(texts) if not text.strip()]
    if empty:
        raise DatasetError(
            "an episode has no instruction",
            file=dataset.root,
            key=f"episode {episode.index}, frame {empty[0]}",
            expected="a sentence",
            found=repr(texts[empty[0]]),
            remedy="give it in the mapping file (instruction: {text: ...})",
        )
    return tuple(text.strip() for text in texts)
