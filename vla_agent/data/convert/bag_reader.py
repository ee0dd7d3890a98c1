"""Reads ROS 2 bags (MCAP and SQLite, plain or compressed) with `rosbags`: no ROS is needed.

A bag is read twice: first everything but the pixels, so that the control periods can be matched, then the pictures that
some control period takes.  So a bag's length does not matter to memory, only an episode's pictures at the final size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert import mapping as schema
from vla_agent.data.convert.bag_messages import COMPRESSED, IMAGE, SWITCH, TEXT, numbers, picture, stamp_of
from vla_agent.errors import DatasetError, ObservationError
from vla_agent.robot.cameras.crop import fit

GET_AGAIN = "copy the bag again, mend it with `ros2 bag reindex` or `mcap recover`, or leave it out"


@dataclass(frozen=True)
class Series:
    """The messages of one source: stamps (m,) seconds, ascending; ``order`` (m,) their place in the bag's own order;
    values (m, P), or None for pictures; ``disordered`` messages that came after a later one."""

    stamps: np.ndarray
    order: np.ndarray
    values: np.ndarray | None
    disordered: int


@dataclass(frozen=True)
class BagContent:
    """Everything of a bag but the pixels: series by source's name and part, texts and marks with their times."""

    series: Mapping[tuple[str, str], Series]
    instructions: list[tuple[float, str]]
    marks: list[tuple[float, str]]
    custom: Mapping[str, Any]


def parts_of(mapping: schema.Mapping) -> Iterator[tuple[tuple[str, str], schema.Source]]:
    """Every source with a name of its own: a state and an action field may be called the same."""
    for part in ("cameras", "state", "action"):
        for source in getattr(mapping, part):
            yield (part, source.name), source


def find_bags(place: Path) -> list[Path]:
    """A bag, or all bags in a folder, by name: folders with a metadata.yaml, and single .mcap and .db3 files."""
    if place.is_file() or (place / "metadata.yaml").is_file():
        return [place]
    folders = {p.parent for p in place.glob("*/metadata.yaml") if not p.parent.name.startswith(".")}
    files = {p for suffix in ("mcap", "db3") for p in place.glob(f"*.{suffix}")}
    return sorted(folders | files)


@contextmanager
def open_bag(path: Path) -> Iterator[Any]:
    """A reader of `rosbags` that knows the bag's message types.

    Raises:
        DatasetError: the package is missing, or the bag is damaged; also while it is being read.
    """
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise DatasetError(
            "reading bags needs the package rosbags",
            key="rosbags",
            found=str(error),
            remedy="pip install 'vla_agent[ros-bags]'",
        ) from error
    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            yield reader
    except DatasetError:
        raise
    except Exception as error:  # rosbags raises half a dozen kinds for what is no bag, or a damaged one
        raise _damaged(path, error) from error


def read_bag(path: Path, mapping: schema.Mapping) -> BagContent:
    """Everything but the pixels.

    Raises:
        DatasetError: damaged, a topic is missing or of another type, or a message is not what the mapping says.
    """
    wanted = list(parts_of(mapping))
    texts = {"instruction": mapping.instruction.topic, "marks": mapping.success.topic if mapping.success else None}
    with open_bag(path) as reader:
        topics = {source.at for _, source in wanted} | {t for t in texts.values() if t}
        kinds = _kinds(path, reader, mapping, topics)
        rows: dict[tuple[str, str], list[tuple[float, int, np.ndarray | None]]] = {name: [] for name, _ in wanted}
        said: dict[str, list[tuple[float, str]]] = {"instruction": [], "marks": []}
        counts = dict.fromkeys(topics, 0)
        for topic, kind, received, message in _messages(path, reader, topics):
            place, counts[topic] = counts[topic], counts[topic] + 1
            try:
                for name, source in wanted:
                    if source.at != topic:
                        continue
                    values = numbers(message, kind, source) if isinstance(source, schema.FieldSource) else None
                    if values is not None or isinstance(source, schema.CameraSource):
                        rows[name].append((stamp_of(message, received, mapping.stamps == "header"), place, values))
            except ObservationError as error:
                raise _wrong_message(path, topic, place, error) from error
            for use, at in texts.items():
                if at == topic:
                    said[use].append((received, _text(message, kind, mapping)))
        _require_all(path, reader, counts, kinds)
        custom = getattr(reader.readers[0].storage, "metadata", None)
        series = {name: _series(found) for name, found in rows.items()}
        return BagContent(series, said["instruction"], said["marks"], _custom(getattr(custom, "custom", None)))


def read_pictures(
    path: Path, cameras: tuple[schema.CameraSource, ...], wanted: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The pictures of some messages, cropped and resized.

    Args:
        wanted: camera -> (n,) places of the messages in the bag's order; repetitions are allowed.

    Returns:
        Camera -> (n, H, W, 3) uint8.

    Raises:
        DatasetError: damaged, or an encoding that is not read.
    """
    found: dict[str, dict[int, np.ndarray]] = {c.name: {} for c in cameras}
    need = {name: set(places.tolist()) for name, places in wanted.items()}
    counts = {c.at: 0 for c in cameras}
    with open_bag(path) as reader:
        for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in counts]):
            place, counts[connection.topic] = counts[connection.topic], counts[connection.topic] + 1
            for camera in cameras:
                if camera.at != connection.topic or place not in need[camera.name]:
                    continue
                try:
                    pixels = picture(reader.deserialize(raw, connection.msgtype), connection.msgtype)
                except ObservationError as error:
                    raise _wrong_message(path, connection.topic, place, error) from error
                pixels = fit(pixels, (camera.height, camera.width))
                found[camera.name][place] = pixels[::-1] if camera.flip else pixels
    return {name: np.stack([found[name][place] for place in places.tolist()]) for name, places in wanted.items()}


def _messages(path: Path, reader: Any, topics: set[str]) -> Iterator[tuple[str, str, float, Any]]:
    for connection, nanoseconds, raw in reader.messages([c for c in reader.connections if c.topic in topics]):
        try:
            message = reader.deserialize(raw, connection.msgtype)
        except Exception as error:  # whatever a damaged message makes of the decoder
            raise _damaged(path, error, connection.topic) from error
        yield connection.topic, connection.msgtype, nanoseconds * 1e-9, message


def _kinds(path: Path, reader: Any, mapping: schema.Mapping, topics: set[str]) -> dict[str, str]:
    """Topic -> message type; refuses topics that are missing or of a type that their use does not allow."""
    kinds = {c.topic: c.msgtype for c in reader.connections}
    there = ", ".join(f"{t} ({k})" for t, k in sorted(kinds.items())) or "no topics"
    for topic in sorted(topics):
        if topic not in kinds:
            raise DatasetError(
                "the bag lacks a topic of the mapping",
                file=path,
                key=topic,
                expected=f"messages on {topic}",
                found=there,
                remedy="mend the topic in the mapping file, or record it",
            )
    pictures, none = {IMAGE, COMPRESSED}, set[str]()
    uses = [(c.at, pictures, f"camera {c.name}") for c in mapping.cameras]
    uses += [(mapping.instruction.topic, {TEXT}, "instruction")] if mapping.instruction.topic else []
    uses += [(mapping.success.topic, {TEXT, SWITCH}, "success")] if mapping.success and mapping.success.topic else []
    uses += [(f.at, none, f.name) for f in (*mapping.state, *mapping.action) if kinds[f.at] in pictures]
    for topic, allowed, use in uses:
        if kinds[topic] not in allowed:
            raise DatasetError(
                "a topic has another message type than its use needs",
                file=path,
                key=topic,
                expected=f"{' or '.join(sorted(allowed)) or 'numbers'} for {use}",
                found=kinds[topic],
                remedy="name the right topic in the mapping file",
            )
    return kinds


def _text(message: Any, kind: str, mapping: schema.Mapping) -> str:
    if kind == SWITCH:
        assert mapping.success is not None
        return mapping.success.value if message.data else "failure"
    return str(message.data).strip()


def _require_all(path: Path, reader: Any, counts: Mapping[str, int], kinds: Mapping[str, str]) -> None:
    """A truncated bag may end without an error: what its index promises must have come."""
    for topic, count in sorted(counts.items()):
        promised = sum(c.msgcount for c in reader.connections if c.topic == topic)
        if count != promised or not count and kinds[topic] != TEXT:
            raise DatasetError(
                "messages are missing in the bag" if count != promised else "a topic of the mapping is empty",
                file=path,
                key=topic,
                expected=f"{promised} messages, as its index says" if promised else "at least one message",
                found=f"{count}",
                remedy=GET_AGAIN,
            )


def _series(rows: list[tuple[float, int, np.ndarray | None]]) -> Series:
    stamps = np.array([stamp for stamp, _, _ in rows], dtype=np.float64)
    order = np.argsort(stamps, kind="stable")
    values = np.stack([v for _, _, v in rows if v is not None])[order] if rows and rows[0][2] is not None else None
    places = np.array([place for _, place, _ in rows], dtype=np.int64)
    return Series(stamps[order], places[order], values, int((np.diff(stamps) < 0).sum()))


def _custom(data: Any) -> dict[str, Any]:
    """The bag's own data; `Recorder` writes its values as JSON, others as plain text."""
    found = {}
    for key, value in (data or {}).items():
        try:
            found[key] = json.loads(value)
        except (TypeError, ValueError):
            found[key] = value
    return found


def _wrong_message(path: Path, topic: str, place: int, error: ObservationError) -> DatasetError:
    return DatasetError(
        f"a message cannot be used: {error.what}",
        file=path,
        key=f"{topic}, message {place}: {error.key}",
        expected=error.expected,
        found=error.found,
        remedy=error.remedy,
    )


def _damaged(path: Path, error: Exception, topic: str | None = None) -> DatasetError:
    return DatasetError(
        "the bag is damaged, or is none",
        file=path,
        key=topic or "bag",
        expected="a rosbag2 folder with metadata.yaml, or a whole .mcap or .db3 file",
        found=f"{type(error).__name__}: {' '.join(str(error).split())}",
        remedy=GET_AGAIN,
    )
