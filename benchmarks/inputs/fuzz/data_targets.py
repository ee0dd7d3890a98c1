"""Recordings, datasets, pictures and mapping files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.fuzz.mutations import Rng, changed_bytes
from benchmarks.inputs.fuzz.target import Target, nothing
from benchmarks.inputs.makers import bags, hdf5_files, lerobot_sets, mappings
from benchmarks.inputs.makers.pictures import coded, encoded


def _bag(storage: str, folder: Path) -> None:
    said = bags.ordinary(8)
    said += [bags.Said("/say", bags.EPOCH + 0.1 * k, bags.text(f"pick {k}")) for k in range(3)]
    said += [
        bags.Said("/pose", bags.EPOCH + 0.1 * k, bags.pose(bags.EPOCH + 0.1 * k, (k, 0, 0), (0, 0, 0, 1)))
        for k in range(8)
    ]
    said.sort(key=lambda one: one.at)
    bags.write_bag(folder / "b", said, storage, {"task": "pick"})
    _map(folder, mappings.bag_mapping(instruction={"topic": "/say"}, state=[mappings.field(), _pose()]))


def _pose() -> dict[str, Any]:
    pick = [f"pose.orientation.{axis}" for axis in "xyzw"]
    more = {"convert": "quaternion_xyzw", "rotation": "rotation vector"}
    return mappings.field("turn", "/pose", tuple(pick), **more)


def _map(folder: Path, mapping: dict[str, Any]) -> None:
    mappings.write_mapping(folder, mapping)


def _convert(name: str, folder: Path) -> Any:
    from vla_agent.data.convert.convert import convert

    return convert(folder / name, folder / "mapping.yaml", folder / "out")


def _hdf5(folder: Path) -> None:
    jpegs = [encoded(coded(k), "JPEG") for k in range(hdf5_files.FRAMES)]
    arrays = hdf5_files.ordinary(
        **{
            "obs/img": {"data": hdf5_files.pictures(), "chunks": (1, 8, 8, 3), "compression": "gzip"},
            "obs/jpeg": hdf5_files.byte_rows(jpegs, "ragged"),
        }
    )
    hdf5_files.write_hdf5(folder / "a.hdf5", arrays, {"data": {"task": '{"say": "pick"}'}})
    cameras = [mappings.camera("obs/img"), mappings.camera("obs/jpeg") | {"name": "other"}]
    _map(folder, mappings.hdf5_mapping(cameras=cameras, instruction={"attribute": "task", "key": "say"}))


def _dataset(layout: str, folder: Path) -> None:
    lerobot_sets.write_good(folder / "d", layout)
    _map(folder, mappings.lerobot_mapping())


def _load(folder: Path) -> Any:
    from vla_agent.data.lerobot.dataset_reader import load

    dataset = load(folder / "d")
    return dataset.frames("front", [0, 13]), dataset.stats, dataset.collection, dataset.contract, dataset.hash


def _validate(folder: Path) -> Any:
    from vla_agent.data.validate.validate import validate

    return validate(folder / "d")


def _edit(folder: Path) -> Any:
    from vla_agent.data.edit.edit import edit_dataset
    from vla_agent.data.edit.edit_plan import Edit

    return edit_dataset(folder / "d", folder / "out", Edit(frozenset({1}), None, {0: (2, 9)}))


def _picture(kind: str, folder: Path, rng: Rng) -> Any:
    """As the reader of a recording's compressed image, with or without a range, or of a folder of pictures."""
    from vla_agent.robot.cameras.image_messages import compressed_pixels

    pixels: Any = [coded(3), coded(3)[..., 0], np.full((8, 8), 700, np.uint16)][
        int(rng.integers(3 if kind == "PNG" else 2))
    ]
    data = changed_bytes(encoded(pixels, kind), rng)
    form = str(rng.choice(["jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; png compressed", "", "x;y", "é"]))
    span = (0.0, 1000.0) if rng.random() < 0.3 else None
    return compressed_pixels(bags.compressed(1.0, form, data), span, recorded=True)


def _part(folder: Path) -> None:
    from vla_agent.data.lerobot.episode import encode, save_part

    save_part(folder / "a.npz", encode(lerobot_sets.episode(0), "images", 20))


def _load_part(folder: Path) -> Any:
    from vla_agent.data.lerobot.episode import load_part

    return load_part(folder / "a.npz")


def targets() -> Iterator[Target]:
    """All of them."""
    for storage in ("mcap", "mcap+zstd", "sqlite3", "sqlite3+zstd"):
        bag = ("b/*.mcap" if "mcap" in storage else "b/*.db3", "b/metadata.yaml")
        yield Target(f"bag {storage}, convert", partial(_bag, storage), partial(_convert, "b"), bag)
    yield Target("HDF5, convert", _hdf5, partial(_convert, "a.hdf5"), ("a.hdf5",))
    yield Target("mapping file, convert", partial(_bag, "mcap"), partial(_convert, "b"), ("mapping.yaml",))
    tables = ("d/data/**/*.parquet", "d/meta/info.json", "d/meta/**/*.parquet", "d/**/*")
    for layout in ("v3.0 images", "v3.0 video", "v2.1 images", "v2.1 video"):
        files = ("d/meta/*", *tables) if layout.startswith("v2.1") else tables
        yield Target(f"LeRobot {layout}, load", partial(_dataset, layout), _load, files)
        yield Target(f"LeRobot {layout}, validate", partial(_dataset, layout), _validate, files)
    for layout in ("v3.0 images", "v2.1 video"):
        yield Target(f"LeRobot {layout}, convert", partial(_dataset, layout), partial(_convert, "d"), tables)
        yield Target(f"LeRobot {layout}, edit", partial(_dataset, layout), _edit, tables)
    for kind in ("PNG", "JPEG"):
        yield Target(f"{kind}, message", nothing, partial(_picture, kind))
    yield Target("part of a collection", _part, _load_part, ("a.npz",))
