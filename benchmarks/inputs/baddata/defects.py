"""The planted defects.  Each changes a copy of the good dataset, and states the finding that must come."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inputs.baddata.good_datasets import DATA, EARLIER_DATA, EARLIER_VIDEO, FRAMES, WRIST
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.arrow_columns import tasks_of, tasks_table

FRONT_KEY, WRIST_KEY = dataset_schema.image_key("front"), dataset_schema.image_key("wrist")
Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Defect:
    """One defect.

    Args:
        name: the defect in words.  spoil: makes it, in place.  layout: which good dataset is copied.
        check, episode, frame: of the finding that must come; None for the whole dataset.
        alone: no other episode may have errors.
    """

    name: str
    spoil: Spoil
    check: str
    episode: int | None
    frame: int | None
    layout: str = "v3.0 images"
    alone: bool = True


def values(key: str, episode: int, change: Callable[[Any], None], file: str = DATA) -> Spoil:
    """Change an episode's rows of a column in place; ``change`` gets an array, or a list for images."""

    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / file, partitioning=None)
        column = table[key].to_pylist()
        rows = slice(episode * FRAMES, (episode + 1) * FRAMES) if file == DATA else slice(None)
        part = column[rows] if isinstance(column[0], dict) else np.array(column[rows])
        change(part)
        column[rows] = part if isinstance(part, list) else part.tolist()
        column_index = table.column_names.index(key)
        field = table.schema.field(key)
        pq.write_table(table.set_column(column_index, field, pa.array(column, type=field.type)), folder / file)

    return spoil


def put(key: str, episode: int, where: Any, value: Any, file: str = DATA) -> Spoil:
    """Set an episode's values at ``where`` (an index of numpy)."""

    def change(part: np.ndarray) -> None:
        part[where] = value

    return values(key, episode, change, file)


def drop_rows(rows: list[int]) -> Spoil:
    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / DATA, partitioning=None)
        kept = [k for k in range(len(table)) if k not in rows]
        pq.write_table(table.take(kept), folder / DATA)

    return spoil


def instruction(episode: int, text: str) -> Spoil:
    def spoil(folder: Path) -> None:
        tasks = list(tasks_of(pq.read_table(folder / dataset_schema.TASKS, partitioning=None)).values())
        table = pq.read_table(folder / DATA, partitioning=None)
        tasks[table["task_index"][episode * FRAMES].as_py()] = text
        pq.write_table(tasks_table(tasks), folder / dataset_schema.TASKS)

    return spoil


def other_instruction(episode: int, source: int) -> Spoil:
    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / DATA, partitioning=None)
        put("task_index", episode, slice(None), table["task_index"][source * FRAMES].as_py())(folder)

    return spoil


def edit_json(name: str, **changes: Any) -> Spoil:
    """Change keys of a JSON file under ``meta``."""

    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def _stretch(factor: float) -> Callable[[np.ndarray], None]:
    def change(times: np.ndarray) -> None:
        times *= factor

    return change


def _shift(frame: int, seconds: float) -> Callable[[np.ndarray], None]:
    def change(times: np.ndarray) -> None:
        times[frame:] += seconds

    return change


def _stands_still(frame: int) -> Callable[[np.ndarray], None]:
    def change(times: np.ndarray) -> None:
        times[frame:] = times[frame]

    return change


def _swap(folder: Path) -> None:
    front: list[Any] = []
    values(FRONT_KEY, 4, front.extend)(folder)  # read, change nothing
    wrist: list[Any] = []
    values(WRIST_KEY, 4, wrist.extend)(folder)
    put_images(FRONT_KEY, 4, wrist)(folder)
    put_images(WRIST_KEY, 4, front)(folder)


def put_images(key: str, episode: int, images: list[Any]) -> Spoil:
    def change(part: list[Any]) -> None:
        part[:] = images

    return values(key, episode, change)


def image(key: str, episode: int, frame: int | None, make: Callable[[bytes], bytes | None]) -> Spoil:
    """Replace the bytes of one image, or (frame None) all images of an episode by one made from the first."""

    def change(part: list[Any]) -> None:
        frames = range(len(part)) if frame is None else [frame]
        for k in frames:
            part[k] = {"bytes": make(part[0 if frame is None else k]["bytes"]), "path": None}

    return values(key, episode, change)


def _black(data: bytes) -> bytes:
    from vla_agent.data.lerobot.media import decode_png, encode_png

    return encode_png(np.zeros_like(decode_png(data)))


def _copy_actions(folder: Path) -> None:
    kept: list[Any] = []
    values(dataset_schema.ACTION, 2, lambda part: kept.append(part.copy()))(folder)
    put(dataset_schema.ACTION, 5, slice(None), kept[0])(folder)


def _stale_stats(folder: Path) -> None:
    stats = json.loads((folder / dataset_schema.STATS).read_text())
    stats[dataset_schema.ACTION]["mean"] = [m + 1 for m in stats[dataset_schema.ACTION]["mean"]]
    (folder / dataset_schema.STATS).write_text(json.dumps(stats))


def _other_camera(folder: Path) -> None:
    features = json.loads((folder / dataset_schema.INFO).read_text())["features"]
    features[FRONT_KEY]["shape"] = [48, 48, 3]
    edit_json(dataset_schema.INFO, features=features)(folder)


def _short_video(folder: Path) -> None:
    short = folder / "short.mp4"
    with av.open(str(folder / WRIST)) as source, av.open(str(short), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and number < 3 * FRAMES + 10:
                packet.stream = stream
                target.mux(packet)
    short.replace(folder / WRIST)


def _delete(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def _truncate(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def _empty_line(folder: Path) -> None:
    path = folder / "meta/tasks.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    number = pq.read_table(folder / EARLIER_DATA.format(3), partitioning=None)["task_index"][0].as_py()
    rows[number]["task"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


A, S, T = dataset_schema.ACTION, dataset_schema.STATE, "timestamp"
DEFECTS = (
    Defect("NaN in a state", put(S, 2, (7, 3), np.nan), "not finite", 2, 7),
    Defect("infinity in an action", put(A, 1, (11, 0), np.inf), "not finite", 1, 11),
    Defect("NaN in a time stamp", put(T, 3, 4, np.nan), "not finite", 3, 4),
    Defect("a frame dropped", drop_rows([2 * FRAMES + 12]), "missing frames", 2, 12),
    Defect("an episode's end dropped", drop_rows(list(range(5 * FRAMES - 5, 5 * FRAMES))), "missing frames", 4, 25),
    Defect("a frame counted twice", put("frame_index", 1, 9, 8), "missing frames", 1, 9),
    Defect("an episode dropped", drop_rows(list(range(3 * FRAMES, 4 * FRAMES))), "missing frames", 3, 0),
    Defect("time stamps jump", values(T, 3, _shift(10, 0.5)), "time stamps", 3, 10),
    Defect("time stamps drift", values(T, 0, _stretch(1.1)), "time stamps", 0, 3),
    Defect("time stamps stand still", values(T, 5, _stands_still(20)), "time stamps", 5, 21),
    Defect("recorded at half the rate", values(T, 2, _stretch(2.0)), "time stamps", 2, 1),
    Defect("the action never changes", put(A, 2, slice(None), 0.001), "constant", 2, 0),
    Defect("the state never changes", put(S, 3, slice(None), 0.5), "constant", 3, 0),
    Defect("actions clipped above", put(A, 4, (slice(6, 18), 0), 0.02), "clipped", 4, 6),
    Defect("actions clipped below", put(A, 1, (slice(10, 21), 2), -0.02), "clipped", 1, 10),
    Defect("an action in millimetres", put(A, 2, (5, 1), 12.0), "range", 2, 5),
    Defect("a gripper in per cent", put(S, 0, (slice(14, None), 9), 80.0), "range", 0, 14),
    Defect("an empty instruction", instruction(3, ""), "instructions", 3, 0),
    Defect("an instruction without words", instruction(1, " ... "), "instructions", 1, 0),
    Defect("an instruction that does not exist", put("task_index", 5, slice(8, None), 99), "instructions", 5, 8),
    Defect("another episode's instruction", other_instruction(2, 4), "instructions", 2, 0),
    Defect("cameras swapped", _swap, "swapped cameras", 4, 0),
    Defect("a black camera", image(WRIST_KEY, 1, None, _black), "blank images", 1, 0),
    Defect("a frozen camera", image(FRONT_KEY, 0, None, lambda data: data), "frozen images", 0, 0),
    Defect("an image cut off", image(FRONT_KEY, 3, 29, lambda d: d[: len(d) // 2]), "missing images", 3, 29),
    Defect("an image missing", image(WRIST_KEY, 2, 14, lambda data: None), "missing images", 2, 14),
    Defect("an episode copied", _copy_actions, "copies", 5, 0),
    Defect("statistics of other data", _stale_stats, "statistics", None, None),
    Defect("another rate described", edit_json(dataset_schema.INFO, fps=10), "rate", None, None, alone=False),
    Defect("more frames stated", edit_json(dataset_schema.INFO, total_frames=999), "counts", None, None),
    Defect("a camera of another size", _other_camera, "contract", None, None, alone=False),
    Defect("a video missing", _delete(WRIST), "missing images", 0, 0, "v3.0 video", alone=False),
    Defect("a video cut off", _short_video, "missing images", 3, 10, "v3.0 video", alone=False),
    Defect("v2.1: a table cut off", _truncate(EARLIER_DATA.format(2)), "unreadable", 2, 0, "v2.1 images"),
    Defect("v2.1: a table missing", _delete(EARLIER_DATA.format(4)), "unreadable", 4, 0, "v2.1 images"),
    Defect("v2.1: NaN", put(S, 1, (3, 0), np.nan, EARLIER_DATA.format(1)), "not finite", 1, 3, "v2.1 images"),
    Defect("v2.1: an empty instruction", _empty_line, "instructions", 3, 0, "v2.1 images"),
    Defect("v2.1: a video missing", _delete(EARLIER_VIDEO.format("front", 5)), "missing images", 5, 0, "v2.1 video"),
    Defect("v2.1: a video cut off", _truncate(EARLIER_VIDEO.format("wrist", 2)), "missing images", 2, 0, "v2.1 video"),
)
