"""Bags, HDF5 files and mappings with wrong clocks, units, depths and orders, converted and validated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.makers import bags, hdf5_files, mappings
from benchmarks.inputs.makers.bags import CAMERA, EPOCH, HZ, JOINTS, Said
from benchmarks.inputs.makers.pictures import coded, encoded, raw
from benchmarks.inputs.silent.plant import Plant, convert_and_check

FRAMES = 24
Clock = Callable[[int, float], float]  # frame, true time -> time in the header


def _recorded(camera: Clock, joints: Clock) -> list[Said]:
    """Pictures and a joint that count the frames; the bag receives each on time, whatever the header says."""
    said = []
    for k in range(FRAMES):
        t = EPOCH + k / HZ
        said.append(Said(JOINTS, t, bags.joint_state(joints(k, t), ["q"], [0.01 * k])))
        said.append(Said(CAMERA, t + 0.002, bags.coloured(camera(k, t), k)))
    return said


def _paired(dataset: Any) -> bool:
    """Whether each picture lies beside the joint of its own frame, or of the one before or after."""
    numbers = dataset.frames("front", np.arange(len(dataset)))[:, 4, 4, 1].astype(float)
    state = dataset.columns["observation.state"].reshape(len(dataset))
    return bool((np.abs(state / 0.01 - numbers) <= 1.01).all())


def _bag(said: list[Said], mapping: dict[str, Any], right: Callable[[Any], bool], folder: Path) -> str:
    return convert_and_check(bags.write_bag(folder / "b", said), mapping, right)


def _on_time(k: int, t: float) -> float:
    return t


def _jumping(first: int, jump: float, k: int, t: float) -> float:
    return t + (jump if k >= first else 0.0)


def _running(rate: float, _k: int, t: float) -> float:
    return EPOCH + (t - EPOCH) * rate


def clocks() -> dict[str, Clock]:
    """What the clock of one source does."""
    half = FRAMES // 2
    offsets = (-3600.0, -10.0, -2.0, -0.8, 0.3, 0.8, 2.0, 10.0, 3600.0)
    made: dict[str, Clock] = {f"{offset:+g} s off": partial(_jumping, 0, offset) for offset in offsets}
    made |= {
        f"{jump:+g} s in the middle": partial(_jumping, half, jump)
        for jump in (-600.0, -5.0, -1.5, -0.9, -0.5, 0.5, 1.5, 5.0, 600.0)
    }
    made |= {f"runs {rate:g} times as fast": partial(_running, rate) for rate in (0.1, 0.5, 2.0, 10.0)}
    made |= {
        "in milliseconds": lambda k, t: t * 1000.0,
        "in microseconds": lambda k, t: t * 1e6,
        "since the start of the machine": lambda k, t: t - EPOCH + 5.0,
        "stands still": lambda k, t: EPOCH,
        "stands still from the middle on": lambda k, t: min(t, EPOCH + half / HZ),
        "whole seconds alone": lambda k, t: float(int(t)),
        "zero": lambda k, t: 0.0,
    }
    return made


def _clock_plants() -> Iterator[Plant]:
    for name, clock in clocks().items():
        for source, pair in (("the camera's", (clock, _on_time)), ("the joints'", (_on_time, clock))):
            read = partial(_bag, _recorded(*pair), mappings.bag_mapping(), _paired)
            yield Plant("clocks", f"bag: {source} clock: {name}", read)


def _joints(value: Callable[[int], tuple[list[str], list[float]]]) -> list[Said]:
    said = []
    for k in range(FRAMES):
        t = EPOCH + k / HZ
        said.append(Said(JOINTS, t, bags.joint_state(t, *value(k))))
        said.append(Said(CAMERA, t, bags.coloured(t, k)))
    return said


def _joint_plants() -> Iterator[Plant]:
    values: dict[str, tuple[str, Callable[[int], tuple[list[str], list[float]]]]] = {
        "degrees": ("units", lambda k: (["q"], [20.0 + 3 * k])),
        "encoder ticks": ("units", lambda k: (["q"], [2048.0 + 50 * k])),
        "hundredths of a degree": ("units", lambda k: (["q"], [2000.0 + 300 * k])),
        "one joint twice": ("orders", lambda k: (["q", "q"], [0.01 * k, 1.0 + 0.01 * k])),
        "more values than names": ("orders", lambda k: (["q"], [0.01 * k, 1.0])),
        "fewer values than names": ("orders", lambda k: (["g", "q"], [0.01 * k])),
        "NaN": ("ranges", lambda k: (["q"], [np.nan if k == 7 else 0.01 * k])),
        "infinity": ("ranges", lambda k: (["q"], [np.inf if k == 7 else 0.01 * k])),
        "another joint": ("orders", lambda k: (["qq"], [0.01 * k])),
    }
    for name, (group, value) in values.items():
        yield Plant(group, f"bag: joint states: {name}", partial(_bag, _joints(value), mappings.bag_mapping(), _paired))


def _pose_plants() -> Iterator[Plant]:
    axes = [f"pose.orientation.{axis}" for axis in "xyzw"]
    turn = mappings.field("turn", "/pose", tuple(axes), convert="quaternion_xyzw", rotation="rotation vector")
    place = mappings.field("place", "/pose", tuple(f"pose.position.{axis}" for axis in "xyz"), unit="m", frame="base")
    orientations = {
        "Euler angles": lambda k: (0.1 + 0.02 * k, 0.2, 1.3, 0.0),
        "Euler angles in degrees": lambda k: (10.0 + k, 20.0, 130.0, 0.0),
        "of length 0.5": lambda k: (0.0, 0.0, 0.3, 0.4),
        "of length 100": lambda k: (0.0, 0.0, 60.0, 80.0),
        "zeros": lambda k: (0.0, 0.0, 0.0, 0.0),
        "a rotation vector": lambda k: (0.0, 0.0, 0.3 + 0.01 * k, 0.0),
    }
    positions = {"millimetres": 1000.0, "centimetres": 100.0, "micrometres": 1e6}
    for name, of in orientations.items():
        yield Plant("orders", f"bag: quaternion: {name}", partial(_poses, turn, lambda k: (0.4, 0.1, 0.3), of))
    for name, factor in positions.items():
        where = partial(_scaled, factor)
        yield Plant("units", f"bag: position in {name}", partial(_poses, place, where, lambda k: (0.0, 0.0, 0.0, 1.0)))


def _scaled(factor: float, k: int) -> tuple[float, float, float]:
    return 0.45 * factor, (0.2 + 0.001 * k) * factor, 0.3 * factor


def _poses(field: dict[str, Any], where: Any, orientation: Any, folder: Path) -> str:
    said = _joints(lambda k: (["q"], [0.01 * k]))
    said += [Said("/pose", EPOCH + k / HZ, bags.pose(EPOCH + k / HZ, where(k), orientation(k))) for k in range(FRAMES)]
    said.sort(key=lambda one: one.at)
    return _bag(said, mappings.bag_mapping(state=[mappings.field(), field]), lambda _: False, folder)


def _picture_plants() -> Iterator[Plant]:
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 30 + 300
    grey = deep.view(np.uint8).reshape(8, 16)
    pixels = raw(coded(3), "rgb8")
    messages: dict[str, tuple[str, Callable[[float], Any]]] = {
        "depth, 16UC1": ("bit depths", lambda t: bags.image(t, grey, "16UC1", 8, 8)),
        "grey of 16 bits": ("bit depths", lambda t: bags.image(t, grey, "mono16", 8, 8)),
        "depth in floats": ("bit depths", lambda t: bags.image(t, np.zeros((8, 32), np.uint8), "32FC1", 8, 8)),
        "colour of 16 bits": ("bit depths", lambda t: bags.image(t, np.zeros((8, 48), np.uint8), "rgb16", 8, 8)),
        "colour in floats": ("bit depths", lambda t: bags.image(t, np.zeros((8, 96), np.uint8), "32FC3", 8, 8)),
        "PNG of 16 bits": ("bit depths", lambda t: bags.compressed(t, "png", encoded(deep))),
        "PNG of 16 bits that says it is depth": (
            "bit depths",
            lambda t: bags.compressed(t, "16UC1; png compressed", encoded(deep)),
        ),
        "compressed depth": (
            "bit depths",
            lambda t: bags.compressed(t, "16UC1; compressedDepth png", bytes(12) + encoded(deep)),
        ),
        "mosaic that says it is compressed": (
            "orders",
            lambda t: bags.compressed(t, "bayer_rggb8; jpeg compressed ", encoded(coded(3)[..., 0], "JPEG")),
        ),
        "rows shorter than the image": ("orders", lambda t: bags.image(t, pixels[:, :20], "rgb8", 8, 8)),
        "more rows than it states": ("orders", lambda t: bags.image(t, pixels, "rgb8", 6, 8)),
        "colour that says it is grey, too short": ("orders", lambda t: bags.image(t, pixels, "mono8", 8, 25)),
        "an unknown encoding": ("orders", lambda t: bags.image(t, pixels, "rgb", 8, 8)),
        "odd width of shared colours": ("orders", lambda t: bags.image(t, np.zeros((8, 14), np.uint8), "yuv422", 8, 7)),
    }
    for name, (group, make) in messages.items():
        said = [Said(CAMERA, EPOCH + k / HZ, make(EPOCH + k / HZ)) for k in range(FRAMES)]
        said += [one for one in _joints(lambda k: (["q"], [0.01 * k])) if one.topic == JOINTS]
        said.sort(key=lambda one: one.at)
        yield Plant(group, f"bag: pictures: {name}", partial(_bag, said, mappings.bag_mapping(), lambda _: False))


def _hdf5(arrays: dict[str, Any], mapping: dict[str, Any], attributes: Any, folder: Path) -> str:
    return convert_and_check(hdf5_files.write_hdf5(folder / "a.hdf5", arrays, attributes), mapping)


def _hdf5_plants() -> Iterator[Plant]:
    colours, ramp = hdf5_files.pictures(), hdf5_files.ramp()
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "pictures from 0 to 1": ("ranges", {"obs/img": colours / 255}),
        "pictures of floats": ("ranges", {"obs/img": colours.astype(np.float32)}),
        "pictures of 16 bits": ("bit depths", {"obs/img": colours.astype(np.uint16) * 257}),
        "pictures of 64 bits": ("bit depths", {"obs/img": colours.astype(np.int64)}),
        "pictures of signed bytes": ("bit depths", {"obs/img": colours.view(np.int8)}),
        "pictures of one bit": ("bit depths", {"obs/img": colours > 127}),
        "grey pictures": ("orders", {"obs/img": colours[..., 0]}),
        "grey pictures with one channel": ("orders", {"obs/img": colours[..., :1]}),
        "pictures with four channels": ("orders", {"obs/img": np.concatenate([colours, colours[..., :1]], 3)}),
        "channels between rows and columns": ("orders", {"obs/img": colours.transpose(0, 1, 3, 2)}),
        "frames last": ("orders", {"obs/img": colours.transpose(1, 2, 3, 0)}),
        "depth as PNG": (
            "bit depths",
            {"obs/img": hdf5_files.byte_rows([encoded(np.full((8, 8), 700, np.uint16))] * 12, "padded")},
        ),
        "degrees": ("units", {"obs/q": 20.0 + 300 * ramp}),
        "actions in degrees": ("units", {"actions": 20.0 + 300 * ramp}),
        "encoder ticks": ("units", {"obs/q": 2048 + np.arange(24).reshape(12, 2)}),
        "numbers as text": ("orders", {"obs/q": np.array([[b"0.1", b"0.2"]] * 12)}),
        "complex numbers": ("orders", {"obs/q": ramp.astype(np.complex64)}),
        "one state more than pictures": ("orders", {"obs/q": hdf5_files.ramp(13)}),
        "half as many actions": ("clocks", {"actions": ramp[::2]}),
        "states column by column": ("orders", {"obs/q": ramp.T}),
        "NaN": ("ranges", {"obs/q": np.where(np.arange(24).reshape(12, 2) == 6, np.nan, ramp)}),
        "a matrix a frame": ("orders", {"obs/q": np.zeros((12, 4, 4))}),
    }
    for name, (group, change) in changes.items():
        arrays = hdf5_files.ordinary(**change)
        yield Plant(group, f"HDF5: {name}", partial(_hdf5, arrays, mappings.hdf5_mapping(), None))
    for hz in (5, 20, 50):
        rate = {"data": {"env_args": f'{{"env_kwargs": {{"control_freq": {hz}}}}}'}}
        name = f"HDF5: a file of {hz} Hz, a mapping of 10 Hz"
        yield Plant("clocks", name, partial(_hdf5, hdf5_files.ordinary(), mappings.hdf5_mapping(), rate))


def _mapping_plants() -> Iterator[Plant]:
    one_number = mappings.field(convert="quaternion_xyzw", rotation="rotation vector")
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "scale 0": ("units", {"state": [mappings.field(scale=0.0)]}),
        "rate 0": ("clocks", {"control_hz": 0}),
        "a rate of a million": ("clocks", {"control_hz": 1_000_000}),
        "a period for the rate": ("clocks", {"control_hz": 0.1}),
        "an empty range": ("ranges", {"state": [mappings.field(low=1.0, high=-1.0)]}),
        "a range upside down": ("ranges", {"cameras": [mappings.camera(range=[1000, 0])]}),
        "clip without a range": ("ranges", {"state": [mappings.field(clip=True)]}),
        "channels of a bag": ("orders", {"cameras": [mappings.camera(channels="bgr")]}),
        "a quaternion of one number": ("orders", {"state": [one_number]}),
        "a picture of 4 billion pixels": ("ranges", {"cameras": [mappings.camera(side=65_536)]}),
    }  # fmt: skip
    for milliseconds in (20, 50, 100, 250):
        changes[f"tolerance in milliseconds, {milliseconds}"] = ("clocks", {"tolerance": milliseconds})
        one = mappings.field() | {"tolerance": milliseconds}
        changes[f"tolerance of a field in milliseconds, {milliseconds}"] = ("clocks", {"state": [one]})
    for name, (group, change) in changes.items():
        said = _recorded(_on_time, _on_time)
        yield Plant(group, f"mapping: {name}", partial(_bag, said, mappings.bag_mapping(**change), lambda _: False))


def plants() -> Iterator[Plant]:
    """All of them."""
    for part in (_clock_plants, _joint_plants, _pose_plants, _picture_plants, _hdf5_plants, _mapping_plants):
        yield from part()
