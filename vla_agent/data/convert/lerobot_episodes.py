"""Episodes of a LeRobotDataset of another program (v3.0, v2.1), its features picked by a mapping's names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert.field_vectors import Forward, field_values, vectors
from vla_agent.data.convert.mapping import CameraSource, FieldSource, Mapping
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, load
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import DatasetError
from vla_agent.robot.cameras.crop import fit

BLOCK = 64  # pictures that are in memory at their recorded size
Outcome = tuple[Episode | None, dict[str, Any]]


def find_datasets(place: Path) -> list[Path]:
    """A dataset's folder, or all in a folder, by name."""
    return sorted(
        info.parent.parent for pattern in ("", "*/") for info in place.glob(f"{pattern}{dataset_schema.INFO}")
    )


def lerobot_episodes(path: Path, mapping: Mapping, forward: Forward | None) -> Iterator[Outcome]:
    """The episodes of one dataset.

    Raises:
        DatasetError: damaged, of another rate, or a feature is not what the mapping says.
    """
    dataset = load(path)
    if dataset.fps != mapping.control_hz:
        raise DatasetError(
            "the dataset has another rate than the mapping",
            file=path / dataset_schema.INFO,
            key="fps",
            expected=f"control_hz: {mapping.control_hz}",
            found=f"{dataset.fps:g}",
            remedy=f"say control_hz: {dataset.fps:g}; frames are neither left out nor made up",
        )
    columns = {field: _columns(dataset, field) for field in (*mapping.state, *mapping.action)}
    cameras = {camera: _camera(dataset, camera) for camera in mapping.cameras}
    for episode in dataset.episodes:
        report: dict[str, Any] = {"from": path.name, "number": episode.index}
        report["success"] = _success(dataset, episode, mapping)
        if mapping.keep == "success" and not report["success"]:
            yield None, report | {"left_out": "no success"}
        elif episode.length < mapping.shortest:
            yield None, report | {"frames": episode.length, "left_out": f"only {episode.length} frames"}
        else:
            films = {camera.name: _film(dataset, episode, camera, name) for camera, name in cameras.items()}
            made, films = vectors(mapping, partial(_values, dataset, episode, columns, forward), films)
            task = _instruction(dataset, episode, mapping)
            report |= {"frames": len(made[dataset_schema.ACTION]), "instruction": task}
            yield Episode(task, made, films, {"source": path.name, "number": episode.index}), report


def _values(
    dataset: Dataset,
    episode: EpisodeInfo,
    columns: dict[FieldSource, np.ndarray],
    forward: Forward | None,
    _: str,
    field: FieldSource,
) -> np.ndarray:
    picked = columns[field][episode.start : episode.stop]
    return field_values(field, picked, forward, f"{dataset.root}, episode {episode.index}")


def _feature(dataset: Dataset, at: str, pictures: bool) -> dict[str, Any]:
    features: dict[str, dict[str, Any]] = dataset.info["features"]
    there = [
        k for k, f in features.items() if (f["dtype"] in ("image", "video")) == pictures and f["dtype"] != "string"
    ]
    if at not in there:
        raise DatasetError(
            "the dataset lacks a feature of the mapping",
            file=dataset.root / dataset_schema.INFO,
            key=at,
            expected="one of its cameras" if pictures else "one of its columns of numbers",
            found=", ".join(there) or "none",
            remedy="mend at in the mapping file",
        )
    return features[at]


def _columns(dataset: Dataset, field: FieldSource) -> np.ndarray:
    """(N, P) what the field picks of its feature, by the names or numbers of its components."""
    described = _feature(dataset, field.at, pictures=False)
    names = described.get("names") or []
    while isinstance(names, dict):  # {"motors": [...]}, as v2.1 has it
        names = next(iter(names.values()), [])
    values = dataset.columns[field.at].reshape(len(dataset), -1).astype(np.float64)
    names = names if len(names) == values.shape[1] else []
    wrong = [p for p in field.pick if (p not in names if isinstance(p, str) else p >= values.shape[1])]
    if wrong:
        raise DatasetError(
            "a feature of the dataset lacks what the mapping picks",
            file=dataset.root / dataset_schema.INFO,
            key=f"{field.at}: {', '.join(map(str, wrong))}",
            expected="its names or numbers",
            found=", ".join(f"{k} {names[k]}" if names else str(k) for k in range(values.shape[1])),
            remedy=f"mend pick of {field.name} in the mapping file",
        )
    return values[:, [names.index(p) if isinstance(p, str) else p for p in field.pick]]


def _camera(dataset: Dataset, camera: CameraSource) -> str:
    _feature(dataset, camera.at, pictures=True)
    return camera.at.removeprefix(dataset_schema.IMAGE_PREFIX)


def _film(dataset: Dataset, episode: EpisodeInfo, camera: CameraSource, name: str) -> np.ndarray:
    """(n, H, W, 3) uint8 at the contract's size."""
    film = np.empty((episode.length, camera.height, camera.width, 3), np.uint8)
    for first in range(0, episode.length, BLOCK):
        last = min(first + BLOCK, episode.length)
        pictures = dataset.frames(name, range(episode.start + first, episode.start + last))
        film[first:last] = [fit(picture, (camera.height, camera.width)) for picture in pictures]
    return film[:, ::-1] if camera.flip else film


def _success(dataset: Dataset, episode: EpisodeInfo, mapping: Mapping) -> bool:
    success = mapping.success
    if success is None or success.dataset is None:
        return True
    _feature(dataset, success.dataset, pictures=False)
    return bool((dataset.columns[success.dataset][episode.start : episode.stop] >= success.at_least).any())


def _instruction(dataset: Dataset, episode: EpisodeInfo, mapping: Mapping) -> str:
    said = mapping.instruction.text or episode.task
    if not said.strip():
        raise DatasetError(
            "an episode has no instruction",
            file=dataset.root,
            key=f"episode {episode.index}",
            expected="a sentence",
            found=repr(said),
            remedy="say it in the mapping file (instruction: {text: ...})",
        )
    return said.strip()
