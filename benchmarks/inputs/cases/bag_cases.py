"""Bags: clocks that begin again, encodings, depth, empty messages, several publishers, folders without metadata."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.cases.asked import Asked, equal
from benchmarks.inputs.makers import bags, mappings
from benchmarks.inputs.makers.bags import CAMERA, EPOCH, HZ, JOINTS, Said
from benchmarks.inputs.makers.pictures import coded, encoded, padded, raw

GREY = ("mono8", "8UC1")
ENCODINGS = ("rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4", *GREY)


def _state(dataset: Any) -> np.ndarray:
    return np.asarray(dataset.columns["observation.state"]).reshape(len(dataset), -1)


def _with_pictures(messages: list[Any]) -> list[Said]:
    said = []
    for k, message in enumerate(messages):
        t = EPOCH + k / HZ
        message.header.stamp = bags.header(t).stamp
        said += [Said(JOINTS, t, bags.joint_state(t, ["q"], [0.01 * k])), Said(CAMERA, t, message)]
    return said


def _images(
    messages: list[Any], right: list[np.ndarray], within: float, storage: str, camera: dict[str, Any], folder: Path
) -> None:
    """The pictures of the dataset are these; the last one belongs to no action."""
    bag = bags.write_bag(folder / "b", _with_pictures(messages), storage)
    dataset = mappings.converted(bag, mappings.bag_mapping(cameras=[camera]))
    equal("state", _state(dataset)[:, 0], 0.01 * np.arange(len(messages) - 1), 1e-6)
    equal("pictures", dataset.frames("front", np.arange(len(dataset))), np.stack(right[:-1]), within)


def encoding_cases(frames: int = 6) -> Iterator[Asked]:
    """Every encoding, with and without padding of rows, in two sizes and both storages."""
    for encoding in ENCODINGS:
        for side, padding, storage in ((8, 0, "mcap"), (8, 5, "sqlite3"), (12, 3, "mcap+zstd")):
            pixels = [coded(k, side, side) for k in range(frames)]
            messages = [bags.image(0.0, padded(raw(p, encoding), padding), encoding, side, side) for p in pixels]
            right = [np.repeat(p[..., 1:2], 3, 2) for p in pixels] if encoding in GREY else pixels
            ask = partial(_images, messages, right, 0.0, storage, mappings.camera(side=side))
            yield Asked("encoding", f"{encoding}, {side} x {side}, {padding} bytes of padding, {storage}", ask)


def compressed_cases(frames: int = 6) -> Iterator[Asked]:
    """PNG and JPEG as drivers label them."""
    from PIL import Image

    pixels = [coded(k) for k in range(frames)]
    grey = [np.repeat(p[..., 1:2], 3, 2) for p in pixels]
    alpha = [np.concatenate([p, np.full((8, 8, 1), 9, np.uint8)], 2) for p in pixels]
    palette = [
        np.asarray(Image.fromarray(p).convert("P", palette=Image.Palette.ADAPTIVE).convert("RGB")) for p in pixels
    ]
    stored = {
        "PNG": ([encoded(p) for p in pixels], "rgb8; png compressed bgr8", pixels, 0.0),
        "PNG, no format": ([encoded(p) for p in pixels], "", pixels, 0.0),
        "PNG with transparency": ([encoded(p) for p in alpha], "png", pixels, 0.0),
        "grey PNG": ([encoded(p[..., 0]) for p in grey], "mono8; png compressed", grey, 0.0),
        "PNG with a palette": ([_palette(p) for p in pixels], "png", palette, 0.0),
        "JPEG": ([encoded(p, "JPEG") for p in pixels], "jpeg", pixels, 6.0),
        "JPEG that is called PNG": ([encoded(p, "JPEG") for p in pixels], "png", pixels, 6.0),
        "grey JPEG": ([encoded(p[..., 0], "JPEG") for p in grey], "mono8; jpeg compressed", grey, 6.0),
    }
    for name, (data, form, right, within) in stored.items():
        messages = [bags.compressed(0.0, form, one) for one in data]
        yield Asked("compressed", name, partial(_images, messages, right, within, "mcap", mappings.camera()))


def _palette(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG")
    return buffer.getvalue()


def depth_cases(frames: int = 6) -> Iterator[Asked]:
    """16 bits: refused without a range, scaled with one."""
    values = [np.full((8, 8), 300 + 50 * k, np.uint16) for k in range(frames)]
    for form in ("16UC1", "mono16", "big 16UC1", "png", "16UC1; png compressed"):
        if "png" in form:
            messages = [bags.compressed(0.0, form, encoded(v)) for v in values]
        else:
            kind = ">u2" if form.startswith("big") else "<u2"
            rows = [v.astype(kind).view(np.uint8).reshape(8, 16) for v in values]
            messages = [bags.image(0.0, r, form.split()[-1], 8, 8, int(form.startswith("big"))) for r in rows]
        nothing: list[np.ndarray] = []
        plain = partial(_images, messages, nothing, 0.0, "mcap", mappings.camera())
        yield Asked("depth", f"{form}, no range", plain, ("range",))
        for low, high in ((0, 1000), (300, 550)):
            right = [
                np.full((8, 8, 3), round(255 * min(max((v[0, 0] - low) / (high - low), 0), 1)), np.uint8)
                for v in values
            ]
            camera = mappings.camera(range=[low, high])
            yield Asked(
                "depth", f"{form}, range {low} to {high}", partial(_images, messages, right, 1.0, "mcap", camera)
            )


def _takes(back: float, after: int, first: str, folder: Path) -> None:
    """The headers begin again; the episode is cut there, and the report says so."""
    said = []
    for k in range(2 * after):
        received = EPOCH + k / HZ
        take = k // after
        stamp = EPOCH + k / HZ - take * back
        pair = [
            Said(JOINTS, received, bags.joint_state(stamp, ["q"], [100.0 * take + k])),
            Said(CAMERA, received, bags.coloured(stamp, 100 * take + k)),
        ]
        said += pair if first == "joints" else pair[::-1]
    bags.write_bag(folder / "b", said)
    mapping = mappings.write_mapping(folder, mappings.bag_mapping())
    from vla_agent.data.convert.convert import convert
    from vla_agent.data.lerobot.dataset_reader import load

    report = convert(folder / "b", mapping, folder / "out")
    dataset = load(folder / "out")
    equal("lengths", [e.length for e in dataset.episodes], [after - 1, after - 1])
    numbers = dataset.frames("front", np.arange(len(dataset)))[:, 4, 4, 1]
    equal("pictures beside states", numbers, _state(dataset)[:, 0])
    equal("takes", [e["take"] for e in report["episodes"]], [1, 2])


def clock_cases() -> Iterator[Asked]:
    """Clocks that begin again by so many seconds, after so many frames."""
    for back in (1.5, 3.0, 995.0):
        for after in (8, 15):
            for first in ("joints", "camera"):
                yield Asked(
                    "clock", f"{back:g} s back after {after} frames, {first} first", partial(_takes, back, after, first)
                )


def _publishers(groups: list[list[str]], late: float, folder: Path) -> None:
    """Each group of joints is published by a node of its own on one topic."""
    names = [name for group in groups for name in group]
    said = []
    for k in range(10):
        t = EPOCH + k / HZ
        said.append(Said(CAMERA, t, bags.coloured(t, k)))
        for number, group in enumerate(groups):
            at = t + late * number
            values = [0.01 * k + names.index(name) for name in group]
            said.append(Said(JOINTS, at, bags.joint_state(at, group, values)))
    bags.write_bag(folder / "b", sorted(said, key=lambda one: one.at))
    field = mappings.field(pick=tuple(names))
    dataset = mappings.converted(folder / "b", mappings.bag_mapping(state=[field]))
    numbers = dataset.frames("front", np.arange(len(dataset)))[:, 4, 4, 1]
    apart = late * (len(groups) - 1)
    within = 1e-6 if apart < 0.5 / HZ else 0.01 + 1e-6  # a joint that is half a period late is of the period before
    equal("joints", _state(dataset), 0.01 * numbers[:, None] + np.arange(len(names)), within)


def joint_cases() -> Iterator[Asked]:
    """Several publishers; a first message that is empty; a joint that nobody publishes."""
    groups = ([["q"], ["g"]], [["q", "a"], ["g"]], [["q"], ["a"], ["g"]], [["q", "g", "a"]])
    for group in groups:
        for late in (0.0, 0.01, 0.03):
            yield Asked("publishers", f"{group}, {late:g} s apart", partial(_publishers, group, late))
    for count in (1, 3):
        yield Asked("empty", f"the first {count} joint states name no joints", partial(_empty, count))
    missing = partial(_missing, mappings.field(pick=("q", "elbow")))
    yield Asked("publishers", "a joint that nobody publishes", missing, ("elbow", "q"))


def _empty(count: int, folder: Path) -> None:
    said = [Said(JOINTS, EPOCH - 0.1 * k, bags.joint_state(EPOCH - 0.1 * k, [], [])) for k in range(count, 0, -1)]
    dataset = mappings.converted(bags.write_bag(folder / "b", said + bags.ordinary(10)), mappings.bag_mapping())
    equal("state", _state(dataset)[:, 0], 0.01 * np.arange(9), 1e-6)


def _missing(field: dict[str, Any], folder: Path) -> None:
    mappings.converted(bags.write_bag(folder / "b", bags.ordinary(10)), mappings.bag_mapping(state=[field]))


def _folders(lacking: str, folder: Path) -> None:
    """Two bags in a folder; one lost its metadata.yaml, or is a single file."""
    one = bags.write_bag(folder / "bags" / "one", bags.ordinary(10))
    bags.write_bag(folder / "bags" / "two", bags.ordinary(7))
    if lacking == "metadata":
        (one / "metadata.yaml").unlink()
    else:
        shutil.move(next(one.glob("*.mcap")), folder / "bags" / "one.mcap")
        shutil.rmtree(one)
    dataset = mappings.converted(folder / "bags", mappings.bag_mapping())
    equal("lengths", sorted(e.length for e in dataset.episodes), [6, 9])


def cases() -> Iterator[Asked]:
    """All of them."""
    for part in (encoding_cases, compressed_cases, depth_cases, clock_cases, joint_cases):
        yield from part()
    for lacking in ("metadata", "folder"):
        yield Asked("folder", f"one of two bags without {lacking}", partial(_folders, lacking))
