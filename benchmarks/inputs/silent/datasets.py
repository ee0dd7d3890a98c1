"""LeRobotDatasets with wrong units, ranges, orders, clocks and bit depths, validated and loaded, or converted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.makers import lerobot_sets, mappings
from benchmarks.inputs.makers.pictures import encoded
from benchmarks.inputs.silent.plant import Plant, checked, convert_and_check
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_schema import ACTION, STATE

FRONT = dataset_schema.image_key("front")
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
Spoil = Callable[[Path], None]


def column(name: str, change: Callable[[np.ndarray], Any], table: str = lerobot_sets.DATA) -> Spoil:
    """Change a column of numbers (N,) or (N, d)."""

    def spoil(folder: Path) -> None:
        import pyarrow as pa

        def changed(whole: Any) -> Any:
            values = np.array(whole[name].to_pylist())
            made = np.asarray(change(values.copy()))
            return lerobot_sets.with_column(whole, name, pa.array(made.tolist()))

        lerobot_sets.change_table(folder, changed, table)

    return spoil


def part(
    first: int, last: int, change: Callable[[np.ndarray], Any], rows: slice = slice(None)
) -> Callable[[np.ndarray], Any]:
    """Change some components in some rows."""

    def changed(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        values[rows, first:last] = change(values[rows, first:last])
        return values

    return changed


def feature(name: str, **changes: Any) -> Spoil:
    """Change the description of a feature."""
    return lambda folder: lerobot_sets.change_info(folder, lambda info: info["features"][name].update(changes))


def described(**changes: Any) -> Spoil:
    """Change the description of the dataset."""
    return lambda folder: lerobot_sets.change_info(folder, lambda info: info.update(changes))


def pictures(change: Callable[[np.ndarray], bytes | None], rows: slice = slice(None)) -> Spoil:
    """Encode some pictures in another way."""

    def spoil(folder: Path) -> None:
        import pyarrow as pa

        from vla_agent.data.lerobot.media import decode_png

        def changed(whole: Any) -> Any:
            stored = whole[FRONT].to_pylist()
            for k in range(len(stored))[rows]:
                stored[k] = {"bytes": change(decode_png(stored[k]["bytes"])), "path": None}
            kind = whole.schema.field(FRONT).type
            return lerobot_sets.with_column(whole, FRONT, pa.array(stored, kind))

        lerobot_sets.change_table(folder, changed)

    return spoil


def _stats(folder: Path) -> None:
    file = folder / dataset_schema.STATS
    stats = json.loads(file.read_text())
    stats[ACTION]["mean"] = [57.3 * value for value in stats[ACTION]["mean"]]
    file.write_text(json.dumps(stats))


def scaled(factor: float, offset: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
    """The change of values to another unit."""
    return lambda values: values * factor + offset


def unit_spoils() -> Iterator[tuple[str, str, Spoil]]:
    """States and actions of a whole dataset, of one episode, and of one frame, in other units."""
    one, frame = slice(12, 24), slice(17, 18)
    for where, rows in (("everywhere", slice(None)), ("in one episode", one), ("in one frame", frame)):
        for unit, factor in (("degrees", 180 / np.pi), ("encoder ticks", 4096 / (2 * np.pi))):
            yield "units", f"joints in {unit} {where}", column(STATE, part(0, 2, scaled(factor, 30), rows))
            yield "units", f"actions in {unit} {where}", column(ACTION, part(0, 2, scaled(factor, 30), rows))
        for scale in (100.0, 255.0, 1000.0):
            yield "units", f"gripper from 0 to {scale:g} {where}", column(STATE, part(2, 3, scaled(scale), rows))
            grip = column(ACTION, part(2, 3, scaled(1.0, 0.3 * scale), rows))
            yield "units", f"gripper's action from 0 to {scale:g} {where}", grip
        yield "ranges", f"NaN in a state {where}", column(STATE, part(1, 2, lambda v: v * np.nan, rows))
        yield "ranges", f"infinity in an action {where}", column(ACTION, part(1, 2, lambda v: v + np.inf, rows))
    yield "units", "gripper in metres", column(STATE, part(2, 3, lambda v: 0.08 * v))
    yield "units", "statistics in degrees", _stats


def clock_spoils() -> Iterator[tuple[str, str, Spoil]]:
    """Times, rates and the order of frames."""
    for unit, factor in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9), ("minutes", 1 / 60)):
        yield "clocks", f"times in {unit}", column("timestamp", scaled(factor))
    yield "clocks", "times of a clock that is 10 % fast", column("timestamp", lambda v: v * 1.1)
    yield "clocks", "times of twice the rate", column("timestamp", lambda v: v / 2)
    yield "clocks", "times that stand still", column("timestamp", lambda v: 0 * v)
    yield "clocks", "times that go back", column("timestamp", lambda v: v[::-1])
    yield "clocks", "times that jump by 0.2 s", column("timestamp", lambda v: v + 0.2 * (np.arange(len(v)) % 12 > 5))
    for hz in (10, 19, 21, 30, 40, 0.05, 20_000):
        yield "clocks", f"another rate described: {hz:g} Hz", described(fps=hz)
    yield "orders", "frames in reverse", column("frame_index", lambda v: v[::-1])
    yield "orders", "two frames swapped", column("index", _swapped)
    yield "orders", "episodes swapped", column("episode_index", lambda v: v[::-1])
    yield "orders", "another instruction", column("task_index", lambda v: v + 7)


def _swapped(values: np.ndarray) -> np.ndarray:
    values[[3, 4]] = values[[4, 3]]
    return values


def picture_spoils() -> Iterator[tuple[str, str, Spoil]]:
    """Depth and order of pictures, and of what describes them."""
    wide = slice(None)
    for where, rows in (("everywhere", wide), ("in one episode", slice(12, 24))):
        yield (
            "bit depths",
            f"grey of 16 bits {where}",
            pictures(lambda p: encoded(p[..., 0].astype(np.uint16) * 257), rows),
        )
        yield (
            "bit depths",
            f"depth in millimetres {where}",
            pictures(lambda p: encoded(p[..., 0].astype(np.uint16) * 9), rows),
        )
        yield (
            "orders",
            f"channels first {where}",
            pictures(lambda p: encoded(p.transpose(2, 0, 1).reshape(-1, 16)), rows),
        )
        yield "ranges", f"another size {where}", pictures(lambda p: encoded(np.ascontiguousarray(p[::2])), rows)
        yield "ranges", f"no bytes {where}", pictures(lambda p: None, rows)
    yield "orders", "described as width first", feature(FRONT, shape=[20, 16, 3])
    yield "orders", "described with four channels", feature(FRONT, shape=[16, 16, 4])
    yield "orders", "described with one channel", feature(FRONT, shape=[16, 16, 1])
    yield (
        "orders",
        "names say channels first, the shape does not",
        feature(FRONT, names=["channels", "height", "width"]),
    )
    yield "orders", "the shape says channels first, names do not", feature(FRONT, shape=[3, 16, 16])
    yield "orders", "more components than there are", feature(STATE, shape=[4], names=None)
    yield "orders", "fewer components than there are", feature(STATE, shape=[2], names=None)


def video_spoils() -> Iterator[tuple[str, str, Spoil]]:
    """Where an episode begins in its video."""
    begin, end = (f"videos/{FRONT}/{name}_timestamp" for name in ("from", "to"))
    for frames in (-3, -1, 1, 3, 24):
        shift = partial(_later, frames / lerobot_sets.HZ)
        yield "clocks", f"an episode begins {frames:+} frames later in the video", column(begin, shift, EPISODES)
        both = (column(begin, shift, EPISODES), column(end, shift, EPISODES))
        yield "clocks", f"an episode lies {frames:+} frames later in the video", partial(_all, both)
    thousand = (column(begin, lambda v: v * 1e3, EPISODES), column(end, lambda v: v * 1e3, EPISODES))
    yield "clocks", "places in the video in milliseconds", partial(_all, thousand)


def _later(seconds: float, values: np.ndarray) -> np.ndarray:
    values[1] += seconds
    return values


def _all(spoils: tuple[Spoil, ...], folder: Path) -> None:
    for spoil in spoils:
        spoil(folder)


def _read(layout: str, spoil: Spoil, folder: Path) -> str:
    lerobot_sets.write_good(folder / "d", layout)
    spoil(folder / "d")
    return checked(folder / "d")


def _convert(spoil: Spoil, mapping: dict[str, Any], folder: Path) -> str:
    lerobot_sets.foreign(folder / "d")
    spoil(folder / "d")
    return convert_and_check(folder / "d", mapping)


def convert_plants() -> Iterator[Plant]:
    """Foreign datasets, by a mapping."""
    by_name = mappings.lerobot_mapping(state=[mappings.field(at=STATE, pick=("joints.0", "joints.1"))])
    twice = feature(STATE, names=["joints.0", "joints.0", "joints.1"])
    yield Plant("orders", "LeRobot, converted: a name of two components", partial(_convert, twice, by_name))
    unnamed = feature(STATE, names=None)
    yield Plant("orders", "LeRobot, converted: names that are not there", partial(_convert, unnamed, by_name))
    for group, name, spoil in unit_spoils():
        if "degrees everywhere" in name or "ticks everywhere" in name:
            yield Plant(group, f"LeRobot, converted: {name}", partial(_convert, spoil, mappings.lerobot_mapping()))
    for hz in (10, 25):
        yield Plant(
            "clocks", f"LeRobot, converted: {hz} Hz", partial(_convert, described(fps=hz), mappings.lerobot_mapping())
        )


def spoiled() -> Iterator[tuple[str, str, str, Spoil]]:
    """Group, name, layout and change of every dataset that is spoiled and read as it is."""
    for spoils in (unit_spoils, clock_spoils, picture_spoils):
        for group, name, spoil in spoils():
            yield group, name, "v3.0 images", spoil
    for group, name, spoil in video_spoils():
        yield group, name, "v3.0 video", spoil


def plants() -> Iterator[Plant]:
    """All of them."""
    for group, name, layout, spoil in spoiled():
        yield Plant(group, f"LeRobot {layout}: {name}", partial(_read, layout, spoil))
    yield from convert_plants()
