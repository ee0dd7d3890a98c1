"""Episodes of HDF5 files as robomimic and LIBERO write them: one group per episode, all arrays at one rate."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert.conversion_report import (
    FAILED,
    NOT_NAMED,
    OTHER_SIZE,
    ConvertedEpisode,
    LeaveOut,
    apart_from_hidden,
    other_rate,
)
from vla_agent.data.convert.field_vectors import Counts, Forward, field_values, vectors
from vla_agent.data.convert.hdf5_claims import (
    attribute,
    is_bytes,
    require_bytes,
    require_group,
    require_numbers,
    require_path,
    row_bytes,
)
from vla_agent.data.convert.mapping import CameraSource, FieldSource, Mapping
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.episode import Episode
from vla_agent.errors import DatasetError
from vla_agent.files.bounded_pictures import PictureError, decode_picture, require_deep, scaled
from vla_agent.files.bounded_reading import parse_json, require_regular
from vla_agent.robot.cameras.crop import center_crop

FILE_BYTES = 2**40
SUFFIXES = (".hdf5", ".h5", ".hdf", ".he5")
WHOLE_FILE = ("/", ".", "")  # of the mapping's episodes: the file itself is one episode


def find_files(path: Path) -> tuple[list[Path], dict[Path, str]]:
    """An HDF5 file, or all in a folder and below, by path; and what is left out, with the reason."""
    if path.is_file():
        return [path], {}
    return apart_from_hidden(path, [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()])


def hdf5_episodes(
    path: Path, mapping: Mapping, forward: Forward | None, excluded: LeaveOut
) -> Iterator[ConvertedEpisode]:
    """The episodes of one file, ``demo_2`` before ``demo_10``.  ``excluded`` is asked with a group's path.

    Raises:
        DatasetError: the file is damaged, or a group, dataset or attribute is missing or does not fit the mapping.
    """
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(
            "reading HDF5 needs the package h5py", key="h5py", found=str(error), remedy="pip install 'vla_agent[hdf5]'"
        ) from error
    try:
        require_regular(path, DatasetError, FILE_BYTES)
        with h5py.File(path, "r") as file:
            names, others = _episode_groups(path, file, mapping)
            for name in names:
                if reason := excluded(name):
                    yield None, {"from": f"{path.name}/{name}".rstrip("/"), "success": None, "left_out": reason}
                else:
                    yield _episode(path, file, name, mapping, forward)
            for name in others:
                left_out = f"{NOT_NAMED}: {mapping.episodes}"
                yield None, {"from": f"{path.name}/{name}", "success": None, "left_out": left_out}
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # of h5py: not HDF5, truncated, an unknown filter
        raise DatasetError(
            "the file is damaged, or is not an HDF5 file",
            file=path,
            expected="a complete HDF5 file",
            found=" ".join(str(error).split()),
            remedy="get the file again, or leave it out",
        ) from error


def _episode_groups(path: Path, file: Any, mapping: Mapping) -> tuple[list[str], list[str]]:
    """The groups that match the mapping's ``episodes``, numbers in order; and those beside them that do not."""
    if mapping.episodes in WHOLE_FILE:
        require_group(path, file)
        return ["/"], []
    folder, _, pattern = mapping.episodes.rpartition("/")
    require_path(path, file, folder)
    parent = file.get(folder) if folder else file
    if hasattr(parent, "keys"):
        require_group(path, parent)
    names = [n for n in parent if hasattr(parent[n], "keys")] if hasattr(parent, "keys") else []
    wanted = re.compile(re.escape(pattern).replace(r"\*", ".*"))
    chosen = [n for n in names if wanted.fullmatch(n)]
    others = [n for n in names if not wanted.fullmatch(n)]
    if not chosen:
        raise DatasetError(
            "the file has no episodes at the mapping's path",
            file=path,
            key=mapping.episodes,
            expected="a group for each episode",
            found=", ".join([f"{folder}/{n}" for n in names] or list(file)) or "nothing",
            remedy="correct episodes in the mapping file, such as data/demo_*; or / where the file is one episode",
        )
    chosen.sort(key=lambda n: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", n)])
    below = f"{folder}/" if folder else ""
    return [below + n for n in chosen], [below + n for n in others]


def _episode(path: Path, file: Any, name: str, mapping: Mapping, forward: Forward | None) -> ConvertedEpisode:
    group = file[name]
    place = f"{path.name}/{name}".rstrip("/")
    report: dict[str, Any] = {"from": place, "success": _success(path, group, mapping)}
    if mapping.keep == "success" and not report["success"]:
        return None, report | {"left_out": FAILED}
    _check_rate(path, group, mapping)
    length = _common_length(path, group, mapping.sources)
    if length < mapping.fewest:
        return None, report | {"frames": length, "left_out": f"only {length} frames"}
    images = {c.name: _images(path, group, c) for c in mapping.cameras}
    counts: Counts = defaultdict(dict)
    columns, images = vectors(
        mapping, lambda part, field: _field(path, group, field, forward, counts[f"{part}.{field.name}"]), images
    )
    length = len(columns[dataset_schema.ACTION])
    task = _instruction(path, group, mapping)
    origin = {"source": place}
    report |= {"frames": length, "instruction": task, "values": {k: v for k, v in counts.items() if v}}
    return Episode(task, columns, images, origin), report


def _dataset(path: Path, group: Any, at: str) -> Any:
    """An HDF5 dataset of an episode's group, also where ``at`` begins with /."""
    at = at.strip("/")
    require_path(path, group, at)
    found = group.get(at) if at else None
    if found is None or not hasattr(found, "shape"):
        names: list[str] = []
        group.visititems(lambda name, item: _note(names, name, item))
        raise DatasetError(
            "an episode lacks a dataset of the mapping",
            file=path,
            key=f"{group.name.rstrip('/')}/{at}",
            expected=at,
            found=", ".join(names) or "nothing",
            remedy="correct at in the mapping file",
        )
    return found


def _note(names: list[str], name: str, item: Any) -> bool | None:
    """Note a dataset's name; ends the visit at 100."""
    if hasattr(item, "shape"):
        names.append(name)
    return True if len(names) >= 100 else None


def _wrong(path: Path, group: Any, at: str, expected: str, found: object) -> DatasetError:
    return DatasetError(
        "a dataset does not fit the mapping",
        file=path,
        key=f"{group.name.rstrip('/')}/{at}",
        expected=expected,
        found=found,
        remedy="name the right dataset in the mapping file, or leave this file out",
    )


def _common_length(path: Path, group: Any, sources: Any) -> int:
    """The number of frames, which every source must have."""
    lengths = {}
    for source in sources:
        rows = _dataset(path, group, source.at).shape
        if not rows:
            raise _wrong(path, group, source.at, "one row for each frame", "a single number")
        lengths[source.at] = rows[0]
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{at} {n}" for at, n in lengths.items())
        raise _wrong(path, group, sources[0].at, "the same number of rows in every dataset of an episode", found)
    return next(iter(lengths.values()))


def _field(path: Path, group: Any, field: FieldSource, forward: Forward | None, counts: dict[str, int]) -> np.ndarray:
    """A field's values (n, size)."""
    values = _dataset(path, group, field.at)
    columns = [int(p) for p in field.pick]
    numeric = np.issubdtype(values.dtype, np.number) or values.dtype == bool
    if values.ndim not in (1, 2) or not numeric or max(columns) >= (values.shape[1] if values.ndim == 2 else 1):
        expected = f"numbers (frames, at least {max(columns) + 1}) for {field.name}"
        raise _wrong(path, group, field.at, expected, f"{values.shape} {values.dtype}")
    require_numbers(path, values, whole=True)
    table = np.asarray(values[()], dtype=np.float64).reshape(len(values), -1)
    return field_values(field, table[:, columns], forward, f"{path}{group.name}", counts)


def _images(path: Path, group: Any, camera: CameraSource) -> np.ndarray:
    """A camera's images (n, H, W, 3) uint8 at the mapping's size."""
    values = _dataset(path, group, camera.at)
    read = _reader(path, group, camera, values)
    images = np.empty((len(values), camera.height, camera.width, 3), np.uint8)
    size = None
    for k in range(len(values)):
        pixels = read(k)
        size = size or pixels.shape[:2]
        if pixels.shape[:2] != size:
            raise DatasetError(
                "a camera changes its size within an episode",
                file=path,
                key=f"{group.name.rstrip('/')}/{camera.at}, frame {k}",
                expected=f"{size[1]} x {size[0]}, as before",
                found=f"{pixels.shape[1]} x {pixels.shape[0]}",
                remedy=OTHER_SIZE,
            )
        pixels = pixels[..., ::-1] if camera.channels == "bgr" else pixels
        images[k] = center_crop(np.ascontiguousarray(pixels), (camera.height, camera.width))
    return camera.upright(images)


def _reader(path: Path, group: Any, camera: CameraSource, values: Any) -> Callable[[int], np.ndarray]:
    """What reads row k of a camera as (H, W, 3) uint8: pixels, channel last or first, an encoded picture, or depth."""
    if is_bytes(values):
        require_bytes(path, values)
        return partial(_decoded, path, group, camera, values)
    found = f"{values.shape} {values.dtype}"
    if values.dtype == np.uint16:
        grey = values.ndim == 3 or values.ndim == 4 and values.shape[3] == 1
        if not grey or camera.range is None:
            expected = (
                "8 bits a channel; or depth (frames, H, W), and the camera's range: [low, high] in the mapping file"
            )
            raise _wrong(path, group, camera.at, expected, found)
        require_numbers(path, values, whole=False)
        span = camera.range
        return lambda k: scaled(values[k].reshape(values.shape[1:3]), span)
    last, first = values.ndim == 4 and values.shape[3] == 3, values.ndim == 4 and values.shape[1] == 3
    if last == first or values.dtype != np.uint8:
        expected = "images (frames, H, W, 3) or (frames, 3, H, W) uint8, or PNG or JPEG bytes for each frame"
        raise _wrong(path, group, camera.at, expected, found)
    if camera.range is not None:
        raise _wrong(path, group, camera.at, "16 bits a channel, as the camera's range in the mapping file says", found)
    require_numbers(path, values, whole=False)
    return (lambda k: values[k]) if last else (lambda k: values[k].transpose(1, 2, 0))


def _decoded(path: Path, group: Any, camera: CameraSource, values: Any, k: int) -> np.ndarray:
    """Row k, an encoded picture; the zeros that fill it up to the longest do not belong to it."""
    try:
        data = row_bytes(path, values, k)
        if camera.range is not None:
            require_deep(data)
        return decode_picture(data, span=camera.range)
    except PictureError as error:
        raise DatasetError(
            "a picture cannot be used",
            file=path,
            key=f"{group.name.rstrip('/')}/{camera.at}, frame {k}",
            expected=error.expected,
            found=error.found,
            remedy=error.remedy,
        ) from error


def _check_rate(path: Path, group: Any, mapping: Mapping) -> None:
    """Raise where robomimic's ``env_args`` state another rate than the mapping; most files state none."""
    holder = group
    while "env_args" not in holder.attrs and holder.name != "/":
        holder = holder.parent
    text = attribute(path, holder, "env_args")
    try:
        text = text.decode() if isinstance(text, bytes) else text
        known = parse_json(text, path, DatasetError) if isinstance(text, str) else {}
        stated = known["env_kwargs"]["control_freq"]
    except (ValueError, KeyError, TypeError):  # of another program
        return
    if isinstance(stated, (int, float)) and stated != mapping.control_hz:
        raise DatasetError(
            "the file has another rate than the mapping",
            file=path,
            key=f"{holder.name}, attribute env_args: env_kwargs.control_freq",
            expected=f"control_hz: {mapping.control_hz}",
            found=f"{stated:g}",
            remedy=other_rate(stated),
        )


def _success(path: Path, group: Any, mapping: Mapping) -> bool:
    if mapping.success is None or mapping.success.dataset is None:
        return True
    values = _dataset(path, group, mapping.success.dataset)
    require_numbers(path, values, whole=True)
    if values.size != 1:  # else it is the outcome of the whole episode
        length = _common_length(path, group, mapping.sources)
        if not values.shape or values.shape[0] != length:
            raise _wrong(
                path, group, mapping.success.dataset, f"one outcome, or one for each of {length} frames", values.shape
            )
    return bool((values[()] >= mapping.success.at_least).any())


def _instruction(path: Path, group: Any, mapping: Mapping) -> str:
    where = mapping.instruction
    if where.text is not None:
        return where.text.strip()
    holder, searched = group, []
    while True:  # the attributes of the episode, then of its parents
        searched += [f"{holder.name}: {', '.join(islice(holder.attrs, 100)) or 'none'}"]
        if where.attribute in holder.attrs or holder.name == "/":
            break
        holder = holder.parent
    text: Any = attribute(path, holder, str(where.attribute))
    try:
        text = text.decode() if isinstance(text, bytes) else text
        text = parse_json(text, path, DatasetError)[where.key] if where.key and isinstance(text, str) else text
        text = " ".join(text) if isinstance(text, list) else text
    except (ValueError, KeyError, TypeError) as error:
        searched.append(f"{type(error).__name__}: {error}")
        text = None
    if not isinstance(text, str) or not text.strip():
        raise DatasetError(
            "an episode has no instruction",
            file=path,
            key=f"attribute {where.attribute}" + (f", key {where.key}" if where.key else ""),
            expected="a sentence",
            found="; ".join(searched),
            remedy="correct instruction in the mapping file, or give it there: {text: ...}",
        )
    text = text.strip()
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] == '"' else text
