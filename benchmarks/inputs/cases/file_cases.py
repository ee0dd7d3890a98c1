"""HDF5 files, LeRobotDatasets, names of cameras, the terminal's encoding."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.cases.asked import Asked, Wrong, equal
from benchmarks.inputs.makers import bags, hdf5_files, lerobot_sets, mappings
from benchmarks.inputs.makers.pictures import encoded

FRAMES = hdf5_files.FRAMES
STATE = "observation.state"


def _hdf5(arrays: dict[str, Any], mapping: dict[str, Any], right: np.ndarray, within: float, folder: Path) -> None:
    dataset = mappings.converted(hdf5_files.write_hdf5(folder / "a.hdf5", arrays), mapping)
    equal("state", dataset.columns[STATE].reshape(-1), hdf5_files.ramp()[:, 0], 1e-6)
    equal("pictures", dataset.frames("front", np.arange(FRAMES)), right, within)


def hdf5_cases() -> Iterator[Asked]:
    """Where the episode lies, how its pictures are stored, what the numbers are."""
    pictures = hdf5_files.pictures()
    for root in ("/", ".", ""):
        mapping = mappings.hdf5_mapping(episodes=root)
        yield Asked("root", f"episodes: {root!r}", partial(_hdf5, hdf5_files.ordinary(""), mapping, pictures, 0.0))
    for group, pattern in (("data/demo_0", "data/*"), ("episode", "*"), ("a/b/c", "a/b/*"), ("x1", "x1")):
        mapping = mappings.hdf5_mapping(episodes=pattern)
        yield Asked("root", f"episodes: {pattern}", partial(_hdf5, hdf5_files.ordinary(group), mapping, pictures, 0.0))
    plain = mappings.hdf5_mapping()
    for how in ("padded", "ragged", "bytes"):
        for kind, within in (("PNG", 0.0), ("JPEG", 6.0)):
            rows = hdf5_files.byte_rows([encoded(picture, kind) for picture in pictures], how)
            ask = partial(_hdf5, hdf5_files.ordinary(**{"obs/img": rows}), plain, pictures, within)
            yield Asked("bytes", f"{kind}, {how}", ask)
    stored: dict[str, tuple[Any, dict[str, Any]]] = {
        "channels first": (pictures.transpose(0, 3, 1, 2), {}),
        "blue first, declared": (pictures[..., ::-1], {"channels": "bgr"}),
        "lowest row first, declared": (pictures[:, ::-1], {"flip": True}),
        "compressed": ({"data": pictures, "chunks": (1, 8, 8, 3), "compression": "gzip", "shuffle": True}, {}),
    }
    for name, (value, more) in stored.items():
        mapping = mappings.hdf5_mapping(cameras=[mappings.camera("obs/img", **more)])
        yield Asked("pictures", name, partial(_hdf5, hdf5_files.ordinary(**{"obs/img": value}), mapping, pictures, 0.0))
    for dtype in ("f4", "f8", ">f8", ">f4"):
        arrays = hdf5_files.ordinary(**{"obs/q": hdf5_files.ramp().astype(dtype)})
        yield Asked("numbers", dtype, partial(_hdf5, arrays, plain, pictures, 0.0))


def _wrap(unit: str, start: float, step: float, clip: bool, folder: Path) -> None:
    """A joint that counts from -pi to pi turns on."""
    turn = 2 * np.pi if unit == "rad" else 360.0
    angle = (start + step * np.arange(FRAMES) + turn / 2) % turn - turn / 2
    limits = {"low": -2 * abs(step), "high": 2 * abs(step), "clip": True} if clip else {}
    arrays = hdf5_files.ordinary(**{"obs/q": np.stack([angle, angle], 1)})
    action = mappings.field("u", "obs/q", (0,), delta="next", unit=unit, **limits)
    file = hdf5_files.write_hdf5(folder / "a.hdf5", arrays)
    dataset = mappings.converted(
        file, mappings.hdf5_mapping(state=[mappings.field(at="obs/q", pick=(0,), unit=unit)], action=[action])
    )
    equal("change of the angle", dataset.columns["action"].reshape(-1), np.full(FRAMES - 1, step), abs(step) * 1e-3)


def angle_cases() -> Iterator[Asked]:
    """Angles through half a turn, both ways, in both units, with and without limits."""
    for unit, start in (("rad", 3.1), ("deg", 178.0)):
        for step in (0.03, -0.03, 0.4, -0.4):
            for clip in (False, True):
                first = start if step > 0 else -start
                scaled = step if unit == "rad" else step * 50
                yield Asked(
                    "angle", f"{scaled:+g} {unit} a frame, clip {clip}", partial(_wrap, unit, first, scaled, clip)
                )


def _features(layout: str, change: dict[str, Any], folder: Path) -> None:
    """The camera's feature is described in another order; the pictures are the same."""
    from vla_agent.data.lerobot.dataset_reader import load

    plain = lerobot_sets.foreign(folder / "plain", layout)
    other = lerobot_sets.foreign(folder / "other", layout)
    lerobot_sets.change_info(other, lambda info: info["features"]["observation.images.front"].update(change))
    index = np.arange(3 * lerobot_sets.FRAMES)
    equal("pictures", load(other).frames("front", index), load(plain).frames("front", index))


def _extra(kind: str, folder: Path) -> None:
    """One more column that nobody asks for."""
    import pyarrow as pa

    from vla_agent.data.lerobot.dataset_reader import load
    from vla_agent.data.validate.validate import validate

    root = lerobot_sets.foreign(folder / "d")
    n = 3 * lerobot_sets.FRAMES
    made = {
        "matrix": (
            {"dtype": "float32", "shape": [4, 4]},
            pa.array([[[0.5] * 4] * 4] * n, pa.list_(pa.list_(pa.float32()))),
        ),
        "cube": ({"dtype": "float32", "shape": [2, 2, 2]}, pa.array([[[[0.5] * 2] * 2] * 2] * n)),
        "text": ({"dtype": "string", "shape": [1]}, pa.array(["a"] * n)),
        "switch": ({"dtype": "bool", "shape": [1]}, pa.array([True] * n)),
        "whole number": ({"dtype": "int64", "shape": [1]}, pa.array([3] * n)),
        "single": ({"dtype": "float64", "shape": [1]}, pa.array([[0.5]] * n)),
    }
    description, column = made[kind]
    lerobot_sets.change_info(root, lambda info: info["features"].update(pose=description | {"names": None}))
    lerobot_sets.change_table(root, lambda table: lerobot_sets.with_column(table, "pose", column))
    found = [finding.what for finding in validate(root) if finding.error]
    if found:
        raise Wrong(f"validate: {found[0]}")
    equal("states", load(root).columns[STATE], load(lerobot_sets.foreign(folder / "plain")).columns[STATE])
    if kind == "matrix":
        mapping = mappings.lerobot_mapping(state=[mappings.field(at="pose", pick=(0, 15))])
        equal("asked for", mappings.converted(root, mapping).columns[STATE], np.full((n, 2), 0.5))


def _instructions(frame: int, folder: Path) -> None:
    """The instruction changes at a frame of each episode."""
    import pyarrow as pa

    root = lerobot_sets.foreign(folder / "d")
    numbers = (np.tile(np.arange(lerobot_sets.FRAMES), 3) >= frame).astype(int)
    column = pa.array(numbers.tolist(), pa.int64())
    lerobot_sets.change_table(root, lambda table: lerobot_sets.with_column(table, "task_index", column))
    dataset = mappings.converted(root, mappings.lerobot_mapping())
    texts = [dataset.tasks[k] for k in dataset.columns["task_index"].tolist()]
    equal("instructions", texts, [("push the cup", "lift the cup")[k] for k in numbers])


def _camera_name(name: str, folder: Path) -> None:
    bag = bags.write_bag(folder / "inside" / "b", bags.ordinary(8))
    camera = mappings.camera() | {"name": name}
    before = set(folder.rglob("*"))
    try:
        dataset = mappings.converted(bag, mappings.bag_mapping(cameras=[camera], storage="video"))
        equal("frames", dataset.frames(name, [0, 6]).shape, [2, 8, 8, 3])
    finally:
        outside = [p for p in folder.rglob("*") if p not in before and folder / "inside" not in p.parents]
        if outside:
            raise Wrong(f"{outside[0]} was written")


def lerobot_cases() -> Iterator[Asked]:
    """Order of channels, extra columns, instructions, names."""
    orders: dict[str, dict[str, Any]] = {
        "channels": {"shape": [3, 16, 16], "names": ["channels", "height", "width"]},
        "channel": {"shape": [3, 16, 16], "names": ["channel", "height", "width"]},
        "c": {"shape": [3, 16, 16], "names": ["c", "h", "w"]},
        "no names": {"shape": [3, 16, 16], "names": None},
    }
    for layout in ("v3.0 images", "v3.0 video", "v2.1 images", "v2.1 video"):
        for name, change in orders.items():
            yield Asked("channels first", f"{layout}, {name}", partial(_features, layout, change))
    for kind in ("matrix", "cube", "text", "switch", "whole number", "single"):
        yield Asked("extra column", kind, partial(_extra, kind))
    for frame in (1, 5, 10, 11):
        yield Asked("instruction per frame", f"from frame {frame} on", partial(_instructions, frame))
    for name in ("front", "top-2", "a.b", "cam_high"):
        yield Asked("camera name", name, partial(_camera_name, name))
    for name in ("../../evil", "/tmp/evil", "top/left", "", "a\\b", "..", "a b", "é", "a" * 101, ".a"):
        yield Asked("camera name", repr(name[:20]), partial(_camera_name, name), ("name",))


def _terminal(encoding: str, text: str, folder: Path) -> None:
    """The conversion is written where the terminal lacks the instruction's letters."""
    from vla_agent.cli import main

    bag = bags.write_bag(folder / "b", bags.ordinary(8))
    mapping = mappings.write_mapping(folder, mappings.bag_mapping(instruction={"text": text}))
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding)):
        code = main(["data", "convert", str(bag), "--mapping", str(mapping), "-o", str(folder / "out")])
    equal("exit code", [code], [0])
    from vla_agent.data.lerobot.dataset_reader import load

    equal("instruction", list(load(folder / "out").tasks.values()), [text])


def _unreadable_names(folder: Path) -> None:
    (folder / "mapping.yaml").write_text(json.dumps(mappings.bag_mapping(cameras=[mappings.camera() | {"naem": "x"}])))
    from vla_agent.data.convert.mapping import load_mapping

    load_mapping(folder / "mapping.yaml")


def cases() -> Iterator[Asked]:
    """All of them."""
    for part in (hdf5_cases, angle_cases, lerobot_cases):
        yield from part()
    for encoding in ("ascii", "latin-1", "utf-8"):
        for text in ("拿起杯子", "nimm die Tüte", "🦾 pick"):
            yield Asked("terminal", f"{encoding}, {text}", partial(_terminal, encoding, text))
    yield Asked("mapping", "an unknown key of a camera", _unreadable_names, ("naem",))
