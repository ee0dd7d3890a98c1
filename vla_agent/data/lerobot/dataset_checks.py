"""The checks of `dataset_reader.load`: the first defect raises a `DatasetError` that names file, key and remedy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.contract import Contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.claims.file_claims import check_manifest, list_files
from vla_agent.data.lerobot.claims.info_claims import check_claims
from vla_agent.data.lerobot.dataset_files import GET_AGAIN, read_json
from vla_agent.data.lerobot.dataset_tables import DatasetTables
from vla_agent.data.lerobot.media import count_frames
from vla_agent.errors import DatasetError


def check_info(root: Path) -> dict[str, Any]:
    """Read ``meta/info.json`` and check its version, keys and claims.

    Raises:
        DatasetError: another version, a key is missing, or a number, name or path is not possible.
    """
    path = root / dataset_schema.INFO
    list_files(root)  # a link that leaves the dataset is refused before anything is read
    info = read_json(path)
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if version not in (dataset_schema.CODEBASE_VERSION, *dataset_schema.EARLIER_VERSIONS):
        raise DatasetError(
            "the dataset has a version that cannot be read",
            file=path,
            key="codebase_version",
            expected=", ".join((dataset_schema.CODEBASE_VERSION, *dataset_schema.EARLIER_VERSIONS)),
            found=str(version)[:100],
            remedy=_other_version(str(version)),
        )
    keys = ("fps", "features", "total_episodes", "total_frames", "data_path")
    missing = [key for key in keys if key not in info]
    features = info.get("features")
    missing += [n for n in dataset_schema.INDEX_FEATURES if not isinstance(features, dict) or n not in features]
    if missing:
        raise DatasetError(
            "the description of the dataset lacks keys",
            file=path,
            key=", ".join(missing),
            expected=", ".join(keys),
            found=", ".join(info),
            remedy=GET_AGAIN,
        )
    check_claims(info, path)
    return info


def _other_version(version: str) -> str:
    if version.startswith("v1."):
        return "convert it to v2.0 with a lerobot of early 2025 (lerobot.common.datasets.v2.convert_dataset_v1_to_v2)"
    return "install the vla-agent release that reads it, or export the dataset as v3.0"


def check_sizes(root: Path) -> None:
    """Check that every file of the manifest exists with its size (datasets of other programs have no manifest).

    Raises:
        DatasetError: a file is missing or has another size.
    """
    path = root / dataset_schema.MANIFEST
    if not path.exists():
        return
    for name, entry in check_manifest(root, dataset_schema.MANIFEST, read_json(path)).items():
        file = root / name
        size = file.stat().st_size if file.exists() else None
        if size != entry["bytes"]:
            raise DatasetError(
                "a file of the dataset is " + ("missing" if size is None else "incomplete"),
                file=file,
                key="size",
                expected=f"{entry['bytes']} bytes (meta/manifest.json)",
                found="no such file" if size is None else f"{size} bytes",
                remedy=GET_AGAIN,
            )


def check_columns(dataset: DatasetTables) -> None:
    """Check lengths, shapes, finiteness and indices of the columns, and the features against the contract.

    Raises:
        DatasetError: the first that does not hold.
    """
    _check_counts(dataset)
    _ = dataset.stats  # raises where they are damaged
    for name, values in dataset.columns.items():
        _check_values(dataset, name, values)
    _check_indices(dataset)
    _check_video_places(dataset)
    if (dataset.root / dataset_schema.CONTRACT).exists():
        check_contract(dataset, dataset.contract)


def _check_counts(dataset: DatasetTables) -> None:
    """The table of episodes has as many episodes and frames as ``info.json`` states, one after the other."""
    episodes, frames = len(dataset.episodes), sum(e.length for e in dataset.episodes)
    if episodes != dataset.info["total_episodes"] or frames != len(dataset):
        raise DatasetError(
            "the table of episodes does not fit the description",
            file=dataset.root / dataset_schema.INFO,
            key="total_episodes, total_frames",
            expected=f"{dataset.info['total_episodes']} episodes, {len(dataset)} frames",
            found=f"{episodes} episodes, {frames} frames",
            remedy=GET_AGAIN,
        )
    begins = 0
    for episode in dataset.episodes:
        if episode.start != begins:
            raise DatasetError(
                "an episode's rows are not where those of the episode before end",
                file=dataset.root / "meta" / "episodes",
                key="dataset_from_index, dataset_to_index",
                expected=f"episode {episode.index} from row {begins} on",
                found=f"rows {episode.start} to {episode.stop - 1}",
                remedy=GET_AGAIN,
            )
        begins = episode.stop


def _check_values(dataset: DatasetTables, name: str, values: np.ndarray) -> None:
    """A column has the shape of its feature, and finite numbers."""
    size = math.prod(dataset.info["features"][name]["shape"])
    expected = (len(dataset),) if size == 1 else (len(dataset), size)
    if values.shape != expected:
        raise DatasetError(
            "a column has another shape than the description states",
            file=_data_file(dataset, 0),
            key=name,
            expected=expected,
            found=values.shape,
            remedy=GET_AGAIN,
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0, 0])
        raise DatasetError(
            "a column holds NaN or infinity",
            file=_data_file(dataset, row),
            key=name,
            expected="finite numbers",
            found=f"{values[row]} in frame {row} (episode {dataset.columns['episode_index'][row]})",
            remedy="leave that episode out and write the dataset again",
        )


def _check_indices(dataset: DatasetTables) -> None:
    """Frames are in the order of the table of episodes, and every task index has an instruction."""
    columns = dataset.columns
    owner = np.repeat([e.index for e in dataset.episodes], [e.length for e in dataset.episodes])
    lengths = [np.arange(e.length) for e in dataset.episodes] or [np.arange(0)]
    numbered = {"index": np.arange(len(dataset)), "episode_index": owner, "frame_index": np.concatenate(lengths)}
    for name, expected in numbered.items():
        wrong = np.flatnonzero(columns[name] != expected)
        if len(wrong):
            row = int(wrong[0])
            raise DatasetError(
                "the frames are not in order, or not those of the table of episodes",
                file=_data_file(dataset, row),
                key=name,
                expected=expected[row],
                found=f"{columns[name][row]} in frame {row}",
                remedy=GET_AGAIN,
            )
    unknown = sorted(set(np.unique(columns["task_index"]).tolist()) - set(dataset.tasks))
    if unknown:
        raise DatasetError(
            "a frame names an instruction that does not exist",
            file=dataset.root / dataset_schema.TASKS,
            key="task_index",
            expected=", ".join(map(str, list(dataset.tasks)[:20])),
            found=", ".join(map(str, unknown[:20])),
            remedy=GET_AGAIN,
        )


def _check_video_places(dataset: DatasetTables) -> None:
    """In each video, an episode has as many frames as in the tables, and none of another episode's.

    A place that is wrong by one frame shows the image of the next control period beside the state of this one.
    """
    ends: dict[tuple[str, tuple[int, int]], int] = {}
    for camera in dataset.cameras:
        for episode in sorted(dataset.episodes, key=lambda e: e.video_starts.get(camera, 0)):
            if camera not in episode.video_files:
                continue
            file, start = (camera, episode.video_files[camera]), episode.video_starts[camera]
            stop = episode.video_stops.get(camera, start + episode.length)
            if start < ends.get(file, 0) or stop - start != episode.length:
                raise DatasetError(
                    "an episode's place in its video is not that of its frames",
                    file=dataset.root / "meta" / "episodes",
                    key=f"videos/{dataset_schema.image_key(camera)}/from_timestamp, to_timestamp",
                    expected=f"{episode.length} frames for episode {episode.index}, from {ends.get(file, 0)} on",
                    found=f"frames {start} to {stop - 1} of the video",
                    remedy=GET_AGAIN,
                )
            if dataset.info["codebase_version"] == dataset_schema.CODEBASE_VERSION:
                ends[file] = start + episode.length


def check_contract(dataset: DatasetTables, contract: Contract) -> None:
    """Check that a contract's rate is the dataset's, and its cameras, state and action are features with its shapes.

    Raises:
        DatasetError: the first that is not.
    """
    if dataset.fps != contract.control_hz:
        raise DatasetError(
            "the dataset has another rate than its contract",
            file=dataset.root / dataset_schema.INFO,
            key="fps",
            expected=f"{contract.control_hz:g} Hz ({dataset_schema.CONTRACT})",
            found=f"{dataset.fps:g} Hz",
            remedy="correct info.json or meta/contract.json: both must describe the data",
        )
    for name, feature in dataset_schema.features(contract, "video", annotations=False).items():
        found = dataset.info["features"].get(name)
        if found is None or dataset_schema.stated_shape(found) != feature["shape"]:
            raise DatasetError(
                "the dataset lacks a feature of its contract, or has it in another shape",
                file=dataset.root / dataset_schema.INFO,
                key=name,
                expected=feature["shape"],
                found="absent" if found is None else found["shape"],
                remedy=GET_AGAIN,
            )


def check_videos(dataset: DatasetTables) -> None:
    """Check that every video exists and holds at least as many frames as the tables state; before v3.0, just as many.

    Raises:
        DatasetError: a video is missing, unreadable, or of another length.
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
                found: object = count_frames(path, dataset.fps)
            except (OSError, IndexError, ValueError, DatasetError) as error:  # av.FFmpegError is an OSError
                found = f"{type(error).__name__}: {error}"
            alone = dataset.info["codebase_version"] in dataset_schema.EARLIER_VERSIONS  # one episode in each video
            if not isinstance(found, int) or found < frames or (alone and found > frames):
                raise DatasetError(
                    "a video is missing, damaged or of another length than the table",
                    file=path,
                    key=dataset_schema.image_key(camera),
                    expected=f"{frames} frames",
                    found=f"{found} frames" if isinstance(found, int) else found,
                    remedy=GET_AGAIN,
                )


def _data_file(dataset: DatasetTables, row: int) -> Path:
    """The parquet file that holds a frame."""
    episode = next(e for e in dataset.episodes if e.start <= row < e.stop)
    return dataset.data_path(episode.data_file)
