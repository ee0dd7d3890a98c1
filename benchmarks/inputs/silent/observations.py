"""Observations in other units, orders, ranges and bit depths, given to a contract, and sent by a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.silent.plant import Plant
from benchmarks.shared.plausible_state import plausible_state
from vla_agent.contract import Camera, Contract, Field
from vla_agent.contract.tabletop import tabletop_contract

Change = Callable[[dict[str, Any]], object]


def contracts() -> dict[str, Contract]:
    """That of the simulator, and one of a robot with limits, a rotation vector, and cameras that are not square."""
    state = (
        Field("position", 3, "m", "base", -1.0, 1.0),
        Field("turn", 3, "rad", "base", rotation="rotation vector"),
        Field("opening", 1, "m", "", 0.0, 0.08),
        Field("joints", 6, "rad", low=-3.2, high=3.2),
    )
    cameras = (Camera("front", 48, 64), Camera("wrist", 32, 32))
    action = (Field("joints", 6, "rad"),)
    return {"tabletop": tabletop_contract(), "limited": Contract(cameras, state, action, 20.0, 8)}


def good(contract: Contract) -> dict[str, Any]:
    """An observation that is accepted, of an arm away from its zero."""
    rng = np.random.default_rng(5)
    state = plausible_state(contract, rng)
    for field in contract.state:
        part = contract.slices(contract.state)[field.name]
        if field.unit == "rad":
            state[part] = 0.7 + 0.1 * np.arange(field.size)
        elif field.unit == "m" and field.size == 3:
            state[part] = [0.45, 0.2, 0.3]
        elif field.size == 1:
            state[part] = 0.6 * (field.high or 1.0)
    return {
        "images": {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in contract.cameras},
        "state": state,
    }


def _state(part: slice, change: Callable[[np.ndarray], Any], observation: dict[str, Any]) -> None:
    observation["state"][part] = change(observation["state"][part].copy())


def _image(camera: str, change: Callable[[np.ndarray], Any], observation: dict[str, Any]) -> None:
    observation["images"][camera] = change(observation["images"][camera])


def _times(factor: float) -> Callable[[np.ndarray], Any]:
    return lambda values: values * factor


def _set(*values: float) -> Callable[[np.ndarray], Any]:
    return lambda _: np.array(values)


def state_changes(contract: Contract) -> Iterator[tuple[str, str, Change]]:
    """Group, name and change of the state."""
    for field in contract.state:
        part = contract.slices(contract.state)[field.name]
        if field.unit == "rad":
            units = {
                "degrees": 180 / np.pi,
                "hundredths of a degree": 18_000 / np.pi,
                "encoder ticks": 4096 / (2 * np.pi),
            }
        elif field.unit == "m":
            units = {"millimetres": 1000.0, "centimetres": 100.0, "micrometres": 1e6}
        elif field.size == 1:
            units = {"per cent": 100.0, "0 to 255": 255.0, "0 to 1000": 1000.0, "millimetres": 80.0}
        else:
            units = {}
        for unit, factor in units.items():
            yield "units", f"{field.name} in {unit}", partial(_state, part, _times(factor))
            if field.size > 1 and not field.rotation and field.unit == "rad":
                for k in range(field.size):
                    one = slice(part.start + k, part.start + k + 1)
                    yield "units", f"{field.name}.{k} in {unit}", partial(_state, one, _times(factor))
        if field.size == 6 and field.rotation:
            wrong = {
                "zeros": _set(*[0.0] * 6),
                "a quaternion and zeros": _set(0.5, 0.5, 0.5, 0.5, 0.0, 0.0),
                "a rotation vector and zeros": _set(0.3, 0.2, 1.1, 0.0, 0.0, 0.0),
                "Euler angles and zeros": _set(3.1, 0.0, 1.6, 0.0, 0.0, 0.0),
                "columns of length 100": _times(100.0),
                "the first column twice": lambda v: np.tile(v[:3], 2),
                "numbers of the matrix column by column, interleaved": lambda v: v.reshape(2, 3).T.ravel(),
            }
            for name, change in wrong.items():
                yield "orders", f"{field.name}: {name}", partial(_state, part, change)
        yield "ranges", f"{field.name} is NaN", partial(_state, slice(part.start, part.start + 1), _set(np.nan))


def image_changes(contract: Contract) -> Iterator[tuple[str, str, Change]]:
    """Group, name and change of an image of each camera."""
    changes: dict[str, tuple[str, Callable[[np.ndarray], Any]]] = {
        "0 to 1": ("ranges", lambda p: p.astype(np.float32) / 255),
        "-1 to 1": ("ranges", lambda p: p.astype(np.float32) / 127.5 - 1),
        "0 to 255 in floats": ("ranges", lambda p: p.astype(np.float32)),
        "16 bits": ("bit depths", lambda p: p.astype(np.uint16) * 257),
        "10 bits": ("bit depths", lambda p: p.astype(np.uint16) * 4),
        "64 bits": ("bit depths", lambda p: p.astype(np.int64)),
        "signed bytes": ("bit depths", lambda p: p.view(np.int8)),
        "one bit": ("bit depths", lambda p: p > 127),
        "channels first": ("orders", lambda p: p.transpose(2, 0, 1)),
        "planes of colour, row by row": ("orders", lambda p: p.transpose(0, 2, 1)),
        "grey": ("orders", lambda p: p[..., 0]),
        "grey with one channel": ("orders", lambda p: p[..., :1]),
        "four channels": ("orders", lambda p: np.concatenate([p, p[..., :1]], 2)),
        "one flat row": ("orders", lambda p: p.ravel()),
        "a batch of one": ("orders", lambda p: p[None]),
        "another size": ("ranges", lambda p: p[::2, ::2]),
    }
    for camera in contract.cameras:
        for name, (group, change) in changes.items():
            yield group, f"{camera.name}: {name}", partial(_image, camera.name, change)
        if camera.height != camera.width:
            yield "orders", f"{camera.name}: width first", partial(_image, camera.name, lambda p: p.transpose(1, 0, 2))


def _direct(contract: Contract, change: Change, folder: Path) -> str:
    observation = good(contract)
    contract.check_observation(observation)
    change(observation)
    contract.check_observation(observation)
    return ""


def _message(contract: Contract, change: Change, folder: Path) -> str:
    from vla_agent.serving.protocol_messages import read_request
    from vla_agent.serving.wire import pack, unpack

    observation = good(contract)
    read_request(unpack(pack(observation)), contract)
    change(observation)
    flat = {f"observation/{name}": image for name, image in observation["images"].items()}
    read_request(unpack(pack(flat | {"observation/state": observation["state"]})), contract)
    return ""


def plants() -> Iterator[Plant]:
    """Every change of each contract's observation, both ways."""
    for name, contract in contracts().items():
        for group, what, change in (*state_changes(contract), *image_changes(contract)):
            for way, read in (("observation", _direct), ("message", _message)):
                yield Plant(group, f"{way}, {name}: {what}", partial(read, contract, change))
