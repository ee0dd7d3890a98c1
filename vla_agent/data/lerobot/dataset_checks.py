"""The checks behind `dataset_reader.load`: each defect becomes a `DatasetError` that names file, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_files import AGAIN, read_json
from vla_agent.data.lerobot.dataset_tables import DatasetTables
from vla_agent.data.lerobot.media import count_frames
from vla_agent.errors import DatasetError


def check_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, its version and keys checked.

    Raises:
        DatasetError: another version, or a key is missing.
    """
    path = root / dataset_schema.INFO
    info = read_json(path)
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version not in (dataset_schema.CODEBASE_VERSION, dataset_schema.EARLIER_VERSION):
        raise DatasetError(
            "the dataset has another version",
            file=path,
            key="codebase_version",
            expected=f"{dataset_schema.CODEBASE_VERSION} or {dataset_schema.EARLIER_VERSION}",
            found=version,
            remedy="convert it with lerobot (lerobot.datasets.v30.convert_dataset_v21_to_v30), or collect it again",
        )
    keys = ("fps", "features", "total_episodes", "total_frames", "data_path")
    missing = [key for key in keys if key not in info]
    missing += [name for name in dataset_schema.INDEX_FEATURES if name not in info.get("features", {})]
    if missing:
        raise DatasetError(
            "the description of the dataset lacks keys",
            file=path,
            key=", ".join(missing),
            expected=", ".join(keys),
            found=", ".join(info),
            remedy=AGAIN,
        )
    return info


def check_sizes(root: Path) -> None:
    """Every file of the manifest is there with its size (datasets of others have no manifest).

    Raises:
        DatasetError: a file is missing or has another size.
    """
    path = root / dataset_schema.MANIFEST
    if not path.exists():
        return
    for name, entry in read_json(path).items():
        file = root / name
        size = file.stat().st_size if file.exists() else None
        if size != entry["bytes"]:
            raise DatasetError(
                "a file of the dataset is " + ("missing" if size is None else "not whole"),
                file=file,
                key="size",
                expected=f"{entry['bytes']} bytes (meta/manifest.json)",
                found="nothing there" if size is None else f"{size} bytes",
                remedy=AGAIN,
            )


def check_columns(dataset: DatasetTables) -> None:
    """Lengths, shapes, indices and finiteness of the columns, and the contract against the features.

    Raises:
        DatasetError: the first that does not hold.
    """
    info, columns = dataset.info, dataset.columns
    frames, path = len(dataset), dataset.root / dataset_schema.INFO
    if len(dataset.episodes) != info["total_episodes"] or sum(e.length for e in dataset.episodes) != frames:
        raise DatasetError(
            "the table of episodes does not fit the description",
            file=path,
            key="total_episodes, total_frames",
            expected=f"{info['total_episodes']} episodes, {frames} frames",
            found=f"{len(dataset.episodes)} episodes, {sum(e.length for e in dataset.episodes)} frames",
            remedy=AGAIN,
        )
    for name, values in columns.items():
        shape = tuple(info["features"][name]["shape"])
        expected = (frames,) if shape == (1,) else (frames, *shape)
        if values.shape != expected:
            what = "a column has another shape than the description says"
            raise DatasetError(
                what, file=_table(dataset, 0), key=name, expected=expected, found=values.shape, remedy=AGAIN
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise DatasetError(
                "a column holds NaN or infinity",
                file=_table(dataset, row),
                key=name,
                expected="finite numbers",
                found=f"{values[row]} in frame {row} (episode {columns['episode_index'][row]})",
                remedy="leave that episode out and write the dataset anew",
            )
    owner = np.repeat([e.index for e in dataset.episodes], [e.length for e in dataset.episodes])
    for name, right in (("index", np.arange(frames)), ("episode_index", owner)):
        wrong = np.flatnonzero(columns[name] != right)
        if len(wrong):
            row = int(wrong[0])
            what = "the frames are not in order, or not those that the table of episodes names"
            found = f"{columns[name][row]} in frame {row}"
            raise DatasetError(
                what, file=_table(dataset, row), key=name, expected=right[row], found=found, remedy=AGAIN
            )
    if columns["task_index"].min() < 0 or columns["task_index"].max() >= len(dataset.tasks):
        found = f"{columns['task_index'].min()} to {columns['task_index'].max()}"
        valid = f"0 to {len(dataset.tasks) - 1}"
        what = "a frame names an instruction that does not exist"
        raise DatasetError(
            what, file=dataset.root / dataset_schema.TASKS, key="task_index", expected=valid, found=found, remedy=AGAIN
        )
    if (dataset.root / dataset_schema.CONTRACT).exists():
        _check_contract(dataset)


def _check_contract(dataset: DatasetTables) -> None:
    for name, feature in dataset_schema.features(dataset.contract, "video", annotations=False).items():
        found = dataset.info["features"].get(name)
        if found is None or list(found["shape"]) != feature["shape"]:
            raise DatasetError(
                "the dataset lacks something that its contract names",
                file=dataset.root / dataset_schema.INFO,
                key=name,
                expected=feature["shape"],
                found="absent" if found is None else found["shape"],
                remedy=AGAIN,
            )


def check_videos(dataset: DatasetTables) -> None:
    """Every video is there and holds at least as many frames as the tables say.

    Raises:
        DatasetError: a video is missing, unreadable or too short.
    """
    for camera in dataset.cameras:
        needed: dict[tuple[int, int], int] = {}
        for episode in dataset.episodes:
            if camera in episode.video_files:
                file = episode.video_files[camera]
                needed[file] = max(needed.get(file, 0), episode.video_starts[camera] + episode.length)
        for file, frames in needed.items():
            path = dataset.video_path(camera, file)
            try:
                found: object = count_frames(path)
            except (OSError, IndexError) as error:  # av.FFmpegError is an OSError
                found = f"{type(error).__name__}: {error}"
            if not isinstance(found, int) or found < frames:
                raise DatasetError(
                    "a video is missing, damaged or shorter than the table",
                    file=path,
                    key=dataset_schema.image_key(camera),
                    expected=f"{frames} frames",
                    found=f"{found} frames" if isinstance(found, int) else found,
                    remedy=AGAIN,
                )


def _table(dataset: DatasetTables, row: int) -> Path:
    episode = next(e for e in dataset.episodes if e.start <= row < e.stop)
    return dataset.data_path(episode.data_file)
