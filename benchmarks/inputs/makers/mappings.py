"""Mapping files of conversions, as plain data that is written as JSON, which is YAML, with letters as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.inputs.makers.bags import CAMERA, JOINTS


def field(name: str = "q", at: str = JOINTS, pick: tuple[Any, ...] = ("q",), **more: Any) -> dict[str, Any]:
    """A field of the state or the action."""
    return {"name": name, "at": at, "pick": list(pick), "unit": "rad"} | more


def camera(at: str = CAMERA, side: int = 8, **more: Any) -> dict[str, Any]:
    """A camera of the contract."""
    return {"name": "front", "at": at, "height": side, "width": side} | more


def bag_mapping(**changes: Any) -> dict[str, Any]:
    """One camera and one joint of `bags.ordinary`; the action is the change to the next frame."""
    plain = {
        "format": "bag",
        "control_hz": 10,
        "storage": "images",
        "cameras": [camera()],
        "state": [field()],
        "action": [field("u", delta="next")],
        "instruction": {"text": "pick"},
    }
    return plain | changes


def hdf5_mapping(**changes: Any) -> dict[str, Any]:
    """One camera and one number of `hdf5_files.ordinary`."""
    return (
        bag_mapping(
            format="hdf5",
            episodes="data/demo_*",
            cameras=[camera("obs/img")],
            state=[field(at="obs/q", pick=(0,))],
            action=[field("u", "actions", (0,))],
        )
        | changes
    )


def lerobot_mapping(**changes: Any) -> dict[str, Any]:
    """The camera front and the first numbers of `lerobot_sets.foreign`."""
    return (
        bag_mapping(
            format="lerobot",
            control_hz=20,
            cameras=[camera("observation.images.front", 16)],
            state=[field(at="observation.state", pick=(0, 1))],
            action=[field("u", "action", (0, 1))],
            instruction={"own": True},
        )
        | changes
    )


def write_mapping(folder: Path, mapping: dict[str, Any]) -> Path:
    """Write ``mapping.yaml``."""
    (folder / "mapping.yaml").write_text(json.dumps(mapping, ensure_ascii=False), encoding="utf-8")
    return folder / "mapping.yaml"


def converted(recording: Path, mapping: dict[str, Any]) -> Any:
    """The dataset that the command makes of a recording, beside it, loaded; raises what the command raises."""
    from vla_agent.data.convert.convert import convert
    from vla_agent.data.lerobot.dataset_reader import load

    convert(recording, write_mapping(recording.parent, mapping), recording.parent / "out")
    return load(recording.parent / "out")
