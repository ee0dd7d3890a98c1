"""Kinds that were tried from outside: folders, units by other words, orientation, needless keys, shifted tables."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.cases.asked import Asked, equal
from benchmarks.inputs.makers import bags, hdf5_files, lerobot_sets, mappings
from benchmarks.inputs.makers.pictures import encoded

FRAMES = hdf5_files.FRAMES
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FRONT = "observation.images.front"


def _hdf5(arrays: dict[str, Any] | None, changes: dict[str, Any], folder: Path) -> Any:
    file = hdf5_files.write_hdf5(folder / "a.hdf5", arrays or hdf5_files.ordinary())
    return mappings.converted(file, mappings.hdf5_mapping(**changes))


def _nested(form: str, folder: Path) -> None:
    """Three recordings at three depths."""
    root = folder / "r"
    for name in ("one", "day/two", "day/night/three"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "bag":
            bags.write_bag(path, bags.ordinary(8))
        elif form == "hdf5":
            hdf5_files.write_hdf5(path.with_suffix(".HDF5"), hdf5_files.ordinary())
        else:
            lerobot_sets.foreign(path)
    mapping = {
        "bag": mappings.bag_mapping,
        "hdf5": mappings.hdf5_mapping,
        "lerobot": mappings.lerobot_mapping,
    }[form]()
    dataset = mappings.converted(root, mapping)
    equal("episodes", [len(dataset.episodes)], [9 if form == "lerobot" else 3])


def _listed(what: str, folder: Path) -> None:
    """A recording that is not taken is in the report, and the command does not end with 0."""
    from vla_agent.cli import main

    root = folder / "r"
    root.mkdir()
    one = bags.write_bag(root / "one", bags.ordinary(8))
    if what == "hidden":
        bags.write_bag(root / ".two", bags.ordinary(8))
    elif what == "not in metadata.yaml":
        shutil.copy(next(one.glob("*.mcap")), one / "two.mcap")
    else:
        (root / "two.bag").write_bytes(b"#ROSBAG V2.0\n")
    mapping = mappings.write_mapping(folder, mappings.bag_mapping())
    code = main(["data", "convert", str(root), "--mapping", str(mapping), "-o", str(folder / "out")])
    equal("exit code", [code], [1])


def folder_cases() -> Iterator[Asked]:
    """Recordings at any depth, and those that are not taken."""
    for form in ("bag", "hdf5", "lerobot"):
        yield Asked("folder", f"{form}: recordings at three depths", partial(_nested, form))
    for what in ("hidden", "not in metadata.yaml", "of ROS 1"):
        yield Asked("folder", f"a bag beside a good one: {what}", partial(_listed, what))


def _wrapped(unit: str, turn: float, folder: Path) -> None:
    q = (np.linspace(0.46, 0.56, FRAMES) * turn + turn / 2) % turn - turn / 2
    action = mappings.field("u", "obs/q", (0,), delta="next", unit=unit)
    dataset = _hdf5(hdf5_files.ordinary(**{"obs/q": np.stack([q, q], 1)}), {"action": [action]}, folder)
    right = np.full(FRAMES - 1, 0.1 * turn / (FRAMES - 1))
    equal("action", dataset.columns["action"].ravel(), right, 1e-3 * turn)


def _state(unit: str, value: float, folder: Path) -> None:
    from vla_agent.contract import Camera, Contract, Field

    contract = Contract((Camera("front", 8, 8),), (Field("j", 1, unit, "base"),), (Field("u", 1, "rad"),), 10.0, 4)
    image = np.zeros((8, 8, 3), np.uint8)
    contract.check_observation({"images": {"front": image}, "state": np.array([value])})


def unit_cases() -> Iterator[Asked]:
    """Units under other words."""
    for unit, turn in (("radians", 2 * np.pi), ("RAD", 2 * np.pi), ("°", 360.0), ("Degrees", 360.0)):
        yield Asked("angle", f"unit: {unit}", partial(_wrapped, unit, turn))
    for unit, value, looks in (("radians", 90.0, "degrees"), ("metres", 400.0, "millimetres"), ("mm", 4e5, "unit")):
        yield Asked("state", f"{value:g} {unit}", partial(_state, unit, value), (looks,))


def _turned(orientation: int, folder: Path) -> None:
    """JPEG bytes that a camera marked as turned."""
    from PIL import Image

    pictures = hdf5_files.pictures()
    rows = []
    for picture in pictures:
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
        rows.append(buffer.getvalue())
    dataset = _hdf5(hdf5_files.ordinary(**{"obs/img": hdf5_files.byte_rows(rows, "padded")}), {}, folder)
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    right = np.rot90(pictures, turns, axes=(1, 2))
    equal("pictures", dataset.frames("front", np.arange(FRAMES)), right, 6.0)


def picture_cases() -> Iterator[Asked]:
    """Orientation; ranges of depth in HDF5."""
    for orientation in (3, 6, 8):
        yield Asked("orientation", f"EXIF {orientation}", partial(_turned, orientation))
    depth = np.stack([np.full((8, 8), 300 + 50 * k, np.uint16) for k in range(FRAMES)])
    rows = hdf5_files.byte_rows([encoded(picture) for picture in depth], "padded")
    span = {"cameras": [mappings.camera("obs/img", range=[300, 850])]}
    for name, pictures in (("numbers", depth), ("PNG", rows)):
        arrays = hdf5_files.ordinary(**{"obs/img": pictures})
        yield Asked("depth", f"HDF5, {name}, range", partial(_hdf5, arrays, span))
        yield Asked("depth", f"HDF5, {name}, no range", partial(_hdf5, arrays, {}), ("range",))
    yield Asked("depth", "HDF5, 8 bits, range", partial(_hdf5, None, span), ("16 bits",))


def mapping_cases() -> Iterator[Asked]:
    """Keys that would have no effect, or another one."""
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "stamps": ({"stamps": "received"}, "stamps"),
        "rule of a field": ({"state": [mappings.field(at="obs/q", pick=(0,), rule="hold")]}, "rule"),
        "of a joint state": ({"state": [mappings.field(at="obs/q", pick=(0,), of="effort")]}, "of"),
        "an empty instruction": ({"instruction": {"text": " "}}, "text"),
        "true for a rate": ({"control_hz": True}, "control_hz"),
        "true for a column": ({"state": [mappings.field(at="obs/q", pick=(True,))]}, "pick"),
        "a camera's name with two dots": ({"cameras": [mappings.camera("obs/img", name="a..b")]}, "name"),
        "cameras that differ in capitals": (
            {"cameras": [mappings.camera("obs/img"), mappings.camera("obs/img", name="FRONT")]},
            "FRONT",
        ),
        "another episode's path": (
            {"state": [mappings.field(at="/data/demo_0/obs/q", pick=(0,))]},
            "data/demo_0/obs/q",
        ),
        "a scale beyond float32": ({"state": [mappings.field(at="obs/q", pick=(1,), scale=1e300)]}, "3.4e+38"),
    }
    for name, (change, word) in changes.items():
        yield Asked("mapping", name, partial(_hdf5, None, change), (word,))


def _table(name: str, change: Callable[[list[Any]], list[Any]], layout: str, folder: Path) -> None:
    import pyarrow as pa

    from vla_agent.data.lerobot.dataset_reader import load

    root = lerobot_sets.write_good(folder / "d", layout)
    lerobot_sets.change_table(
        root, lambda t: lerobot_sets.with_column(t, name, pa.array(change(t[name].to_pylist()))), EPISODES
    )
    load(root)


def table_cases() -> Iterator[Asked]:
    """Tables of episodes that do not say where the frames are."""
    changes: dict[str, tuple[str, Callable[[list[Any]], list[Any]]]] = {
        "rows one later": ("dataset_from_index", lambda v: [x + 1 for x in v]),
        "rows of another episode": ("dataset_from_index", lambda v: [v[0], v[2], v[1]]),
        "an endless time": (f"videos/{FRONT}/from_timestamp", lambda v: [float("inf"), *v[1:]]),
        "a fraction of a file": (f"videos/{FRONT}/file_index", lambda v: [0.0] * len(v)),
        "no file": (f"videos/{FRONT}/file_index", lambda v: [None, *v[1:]]),
        "instructions that are no lists": ("tasks", lambda v: [x[0] for x in v]),
    }
    for name, (column, change) in changes.items():
        yield Asked("table", name, partial(_table, column, change, "v3.0 video"), ("episode",))


def cases() -> Iterator[Asked]:
    """All of them."""
    for part in (folder_cases, unit_cases, picture_cases, mapping_cases, table_cases):
        yield from part()
