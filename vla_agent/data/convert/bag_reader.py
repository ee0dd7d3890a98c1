"""Reads ROS 2 bags (MCAP and SQLite, plain or compressed) with `rosbags`: no ROS is needed.

A bag is read twice: first everything but the images, to match messages to control periods, then the images that some
control period uses.  So only one episode's images, at their final size, are in memory, however long the bag is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.data.convert import mapping as schema
from vla_agent.data.convert.bag_claims import check_bag, listed_files
from vla_agent.data.convert.bag_messages import (
    COMPRESSED,
    IMAGE,
    JOINT_MESSAGES,
    JOINTS,
    SWITCH,
    TEXT,
    image,
    is_empty,
    joints_of,
    numbers,
    stamp_of,
)
from vla_agent.data.convert.conversion_report import OTHER_SIZE, apart_from_hidden
from vla_agent.data.convert.takes import resets, split
from vla_agent.errors import DatasetError, ObservationError
from vla_agent.files.bounded_reading import parse_json
from vla_agent.robot.cameras.crop import center_crop

Row = tuple[float, int, "np.ma.MaskedArray | None", float]  # time, position in the bag, values, time of receipt
BAG_SUFFIXES = (".mcap", ".db3")
ROS_1 = "convert it first: rosbags-convert --src FILE.bag --dst FOLDER"
_NO_BAGS = {
    ".bag": f"a bag of ROS 1: {ROS_1}",
    ".zstd": "compressed as a whole, and no metadata.yaml names it: decompress it (zstd -d)",
}
GET_AGAIN = "copy the bag again, repair it with `ros2 bag reindex` or `mcap recover`, or leave it out"


@dataclass(frozen=True)
class Series:
    """The messages of one source.

    stamps: times (m,), seconds, ascending.  order: position (m,) of each in the order of the bag.  values: (m, P), or
    None for images; masked where a message does not name the joint.  disordered: messages that came after a later one.
    empty: joint states without joints, skipped.  delay: seconds from the header's time to the receipt (median).
    """

    stamps: np.ndarray
    order: np.ndarray
    values: np.ma.MaskedArray | None
    disordered: int
    empty: int = 0
    delay: float = 0.0

    def parts(self) -> list[tuple[list[int], np.ndarray]]:
        """Numbers of the columns that come together, and the messages (k,) that hold them; one part, unless several
        publishers share the topic."""
        if self.values is None:
            return [([0], np.arange(len(self.stamps)))]
        absent = np.ma.getmaskarray(self.values)
        found: dict[bytes, list[int]] = {}
        for column in range(absent.shape[1]):
            found.setdefault(absent[:, column].tobytes(), []).append(column)
        return [(columns, np.flatnonzero(~absent[:, columns[0]])) for columns in found.values()]


@dataclass(frozen=True)
class BagContent:
    """One take of a bag without its images.

    series: by part and name of the source, as in `named_sources`.  instructions, marks: (time in seconds, text).
    custom: the bag's custom data.  sizes: camera -> (height, width) of its first picture that was read; one dictionary
    for all takes of a bag.  interventions: when a person began (True) or ended to command; None: not recorded.
    """

    series: Mapping[tuple[str, str], Series]
    instructions: list[tuple[float, str]]
    marks: list[tuple[float, str]]
    custom: Mapping[str, Any]
    sizes: dict[str, tuple[int, int]]
    interventions: list[tuple[float, bool]] | None = None


def named_sources(mapping: schema.Mapping) -> Iterator[tuple[tuple[str, str], schema.Source]]:
    """Every source with part and name: a field of the state and one of the action may have the same name."""
    for part in ("cameras", "state", "action"):
        for source in getattr(mapping, part):
            yield (part, source.name), source


def find_bags(path: Path) -> tuple[list[Path], dict[Path, str]]:
    """A bag, or all bags in a folder and below, by path; and what is left out, with the reason.

    Bags are folders with a metadata.yaml, and single .mcap and .db3 files; so are the files of a folder whose
    metadata.yaml is missing, as after a crash.
    """
    if path.is_file():
        return [path], {}
    folders = {p.parent for p in path.rglob("metadata.yaml")}
    listed = {folder / name for folder in folders for name in listed_files(folder)}
    found, left_out = set(folders), {}
    for file in path.rglob("*"):
        reason = _NO_BAGS.get(file.suffix.lower()) if file not in listed else None
        if file.suffix.lower() in BAG_SUFFIXES and file not in listed and file.is_file():
            if file.parent in folders:
                left_out[file] = "metadata.yaml beside it does not name it: `ros2 bag reindex` writes it again"
            else:
                found.add(file)
        elif reason and file.is_file():
            left_out[file] = reason
    kept, hidden = apart_from_hidden(path, found)
    return kept, dict(sorted((left_out | hidden).items()))


@contextmanager
def open_bag(path: Path) -> Iterator[Any]:
    """A reader of `rosbags` that knows the bag's message types.

    Raises:
        DatasetError: the package is missing, or the bag is damaged (also raised while it is being read).
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
        check_bag(path)
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            yield reader
    except DatasetError:
        raise
    except Exception as error:  # rosbags raises many kinds of errors for damaged bags and other files
        raise _damaged(path, error) from error


def read_bag(path: Path, mapping: schema.Mapping) -> list[BagContent]:
    """Read everything but the images: one content for each take, in order (`takes`).

    Raises:
        DatasetError: the bag is damaged, a topic is missing or of another type, or a message does not fit the mapping.
    """
    wanted = list(named_sources(mapping))
    texts = {"instruction": mapping.instruction.topic, "marks": mapping.success.topic if mapping.success else None}
    with open_bag(path) as reader:
        topics = {source.at for _, source in wanted} | {t for t in texts.values() if t}
        kinds = _message_types(path, reader, mapping, topics)
        rows: dict[tuple[str, str], list[Row]] = {name: [] for name, _ in wanted}
        empty = {name: 0 for name, _ in wanted}
        strings: dict[str, list[tuple[float, str]]] = {"instruction": [], "marks": []}
        counts = dict.fromkeys(topics, 0)
        joints: dict[str, set[str]] = {topic: set() for topic in topics}
        for topic, kind, received, message in _messages(path, reader, topics):
            joints[topic].update(joints_of(message, kind))
            position, counts[topic] = counts[topic], counts[topic] + 1
            try:
                for name, source in wanted:
                    if source.at != topic:
                        continue
                    if is_empty(message, kind):
                        empty[name] += 1
                        continue
                    values = numbers(message, kind, source) if isinstance(source, schema.FieldSource) else None
                    if values is not None or isinstance(source, schema.CameraSource):
                        stamp = stamp_of(message, received, mapping.stamps == "header")
                        rows[name].append((stamp, position, values, received))
            except ObservationError as error:
                raise _wrong_message(path, topic, position, error) from error
            for use, at in texts.items():
                if at == topic:
                    strings[use].append((received, _text(message, kind, mapping)))
        _check_complete(path, reader, counts, kinds)
        _check_joints(path, mapping, kinds, joints)
        return _takes(rows, empty, strings, custom_data(reader))


def _takes(
    rows: Mapping[tuple[str, str], list[Row]],
    empty: Mapping[tuple[str, str], int],
    strings: Mapping[str, list[tuple[float, str]]],
    custom: Mapping[str, Any],
) -> list[BagContent]:
    """The content of each take; instructions and marks by the time at which they were received."""
    places = {name: resets([stamp for stamp, _, _, _ in found]) for name, found in rows.items()}
    count = 1 + max(map(len, places.values()))
    begins = [-np.inf]
    for take in range(1, count):
        begins.append(min(rows[name][at[take - 1]][3] for name, at in places.items() if len(at) >= take))
    begins.append(np.inf)
    contents = []
    sizes: dict[str, tuple[int, int]] = {}
    for take, found in enumerate(split(rows, places)):
        series = {name: _series(of_take, empty[name] if not take else 0) for name, of_take in found.items()}
        texts = {
            use: [(t, text) for t, text in said if begins[take] <= t < begins[take + 1]]
            for use, said in strings.items()
        }
        contents.append(BagContent(series, texts["instruction"], texts["marks"], custom, sizes))
    return contents


def read_images(
    path: Path,
    cameras: tuple[schema.CameraSource, ...],
    wanted: Mapping[str, np.ndarray],
    sizes: dict[str, tuple[int, int]],
) -> dict[str, np.ndarray]:
    """Read the images of some messages, cropped and resized.

    Args:
        path: the bag.
        cameras: the cameras of the mapping.
        wanted: camera -> positions (n,) of the messages in the order of the bag; repetitions are allowed.
        sizes: camera -> (height, width) of its pictures so far; a camera's first one is entered.

    Returns:
        Camera -> (n, H, W, 3) uint8.

    Raises:
        DatasetError: the bag is damaged, an image has an unknown encoding, or another size than those before.
    """
    found: dict[str, dict[int, np.ndarray]] = {c.name: {} for c in cameras}
    needed = {name: set(positions.tolist()) for name, positions in wanted.items()}
    counts = {c.at: 0 for c in cameras}
    with open_bag(path) as reader:
        for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in counts]):
            position, counts[connection.topic] = counts[connection.topic], counts[connection.topic] + 1
            for camera in cameras:
                if camera.at != connection.topic or position not in needed[camera.name]:
                    continue
                try:
                    pixels = image(reader.deserialize(raw, connection.msgtype), connection.msgtype, camera.range)
                except ObservationError as error:
                    raise _wrong_message(path, connection.topic, position, error) from error
                _require_size(path, camera, position, pixels.shape[:2], sizes)
                pixels = center_crop(pixels, (camera.height, camera.width))
                found[camera.name][position] = camera.upright(pixels)
    return {name: np.stack([found[name][k] for k in positions.tolist()]) for name, positions in wanted.items()}


def _require_size(
    path: Path, camera: schema.CameraSource, position: int, found: tuple[int, ...], sizes: dict[str, tuple[int, int]]
) -> None:
    """Raise where a camera's picture has another size than its first: another part of the scene would be cropped."""
    height, width = sizes.setdefault(camera.name, (found[0], found[1]))
    if (height, width) != found:
        raise DatasetError(
            "a camera changes its size within the bag",
            file=path,
            key=f"{camera.at}, message {position}",
            expected=f"{width} x {height}, as before",
            found=f"{found[1]} x {found[0]}",
            remedy=OTHER_SIZE,
        )


def _messages(path: Path, reader: Any, topics: set[str]) -> Iterator[tuple[str, str, float, Any]]:
    """Topic, type, time of receipt (seconds) and message, in the order of the bag."""
    for connection, nanoseconds, raw in reader.messages([c for c in reader.connections if c.topic in topics]):
        message = deserialized(path, reader.deserialize, connection.topic, raw, connection.msgtype)
        yield connection.topic, connection.msgtype, nanoseconds * 1e-9, message


def deserialized(path: Path, decode: Callable[..., Any], topic: str, raw: bytes | memoryview, kind: str) -> Any:
    """A message of type ``kind``.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        return decode(raw, kind)
    except Exception as error:  # any error that a damaged message causes in the decoder
        raise _damaged(path, error, topic) from error


def _message_types(path: Path, reader: Any, mapping: schema.Mapping, topics: set[str]) -> dict[str, str]:
    """Topic -> message type; raises where a topic is missing or its type does not allow its use."""
    kinds = {c.topic: c.msgtype for c in reader.connections}
    topics_found = ", ".join(f"{t} ({k})" for t, k in sorted(kinds.items())) or "no topics"
    for topic in sorted(topics):
        if topic not in kinds:
            raise DatasetError(
                "the bag lacks a topic of the mapping",
                file=path,
                key=topic,
                expected=f"messages on {topic}",
                found=topics_found,
                remedy="correct the topic in the mapping file, or record it",
            )
    images, none = {IMAGE, COMPRESSED}, set[str]()
    uses = [(c.at, images, f"camera {c.name}") for c in mapping.cameras]
    uses += [(mapping.instruction.topic, {TEXT}, "instruction")] if mapping.instruction.topic else []
    uses += [(mapping.success.topic, {TEXT, SWITCH}, "success")] if mapping.success and mapping.success.topic else []
    fields = (*mapping.state, *mapping.action)
    uses += [(f.at, none, f.name) for f in fields if kinds[f.at] in images]
    uses += [(f.at, {JOINTS}, f"of: {f.of} of {f.name}") for f in fields if f.of != "position"]
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
    """The text of a String; of a Bool, the text for success or ``failure``."""
    if kind == SWITCH:
        assert mapping.success is not None
        return mapping.success.value if message.data else "failure"
    return str(message.data).strip()


def _check_complete(path: Path, reader: Any, counts: Mapping[str, int], kinds: Mapping[str, str]) -> None:
    """Raise where fewer messages came than the index lists: a truncated bag may end without an error."""
    for topic, count in sorted(counts.items()):
        indexed = sum(c.msgcount for c in reader.connections if c.topic == topic)
        if count != indexed or not count and kinds[topic] != TEXT:
            raise DatasetError(
                "messages are missing in the bag" if count != indexed else "a topic of the mapping is empty",
                file=path,
                key=topic,
                expected=f"{indexed} messages, as in its index" if indexed else "at least one message",
                found=f"{count}",
                remedy=GET_AGAIN,
            )


def _check_joints(path: Path, mapping: schema.Mapping, kinds: Mapping[str, str], found: Mapping[str, set[str]]) -> None:
    """Raise where a field picks a joint that no message of its topic names."""
    for field in (*mapping.state, *mapping.action):
        missing = [str(p) for p in field.pick if p not in found[field.at]]
        if kinds[field.at] in JOINT_MESSAGES and missing:
            raise DatasetError(
                "no message of a topic names a joint of the mapping",
                file=path,
                key=f"{field.at}: {', '.join(missing)}",
                expected=f"joints for {field.name}",
                found=", ".join(sorted(found[field.at])) or "no joints",
                remedy=f"correct pick of {field.name} in the mapping file, or the topic in at",
            )


def _series(rows: list[Row], empty: int) -> Series:
    """One source's messages, sorted by time."""
    stamps = np.array([stamp for stamp, _, _, _ in rows], dtype=np.float64)
    order = np.argsort(stamps, kind="stable")
    picked = [v for _, _, v, _ in rows if v is not None]
    values = np.ma.stack(picked)[order] if picked else None
    positions = np.array([position for _, position, _, _ in rows], dtype=np.int64)
    delay = float(np.median([received - stamp for stamp, _, _, received in rows])) if rows else 0.0
    return Series(stamps[order], positions[order], values, int((np.diff(stamps) < 0).sum()), empty, delay)


def custom_data(reader: Any) -> dict[str, Any]:
    """An open bag's custom data; `Recorder` writes its values as JSON, other programs as plain text."""
    found = {}
    metadata = getattr(reader.readers[0].storage, "metadata", None)
    for key, value in (getattr(metadata, "custom", None) or {}).items():
        try:
            found[key] = parse_json(value, "custom data", DatasetError)
        except (TypeError, ValueError):
            found[key] = value
    return found


def _wrong_message(path: Path, topic: str, position: int, error: ObservationError) -> DatasetError:
    return DatasetError(
        f"a message cannot be used: {error.what}",
        file=path,
        key=f"{topic}, message {position}: {error.key}",
        expected=error.expected,
        found=error.found,
        remedy=error.remedy,
    )


def _damaged(path: Path, error: Exception, topic: str | None = None) -> DatasetError:
    return DatasetError(
        "the bag is damaged, or is not a bag",
        file=path,
        key=topic or "bag",
        expected="a rosbag2 folder with metadata.yaml, or a complete .mcap or .db3 file",
        found=f"{type(error).__name__}: {' '.join(str(error).split())}",
        remedy=ROS_1 if path.suffix == ".bag" else GET_AGAIN,
    )
