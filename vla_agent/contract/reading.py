"""Reading contracts from files: what cannot be meant, and what older versions meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from vla_agent.contract.layout import Layout

L = TypeVar("L", bound=Layout)


def impossible_values(contract: Layout) -> dict[str, str]:
    """Key -> value of what no contract can mean."""
    wrong: dict[str, str] = {}
    for part in ("cameras", "state", "action"):
        names = [thing.name for thing in getattr(contract, part)]
        if len(set(names)) < len(names) or not names:
            wrong[part] = ", ".join(names) or "nothing"
    for camera in contract.cameras:
        if camera.color not in ("rgb", "bgr"):
            wrong[f"cameras.{camera.name}.color"] = camera.color
        for key, size in (("height", camera.height), ("width", camera.width)):
            if not isinstance(size, int) or size < 1:
                wrong[f"cameras.{camera.name}.{key}"] = repr(size)
    for part, layout in (("state", contract.state), ("action", contract.action)):
        for field in layout:
            if not isinstance(field.size, int) or field.size < 1:
                wrong[f"{part}.{field.name}.size"] = repr(field.size)
            if field.low is not None and field.high is not None and not field.low < field.high:
                wrong[f"{part}.{field.name}.low"] = f"{field.low} to {field.high}"
    if not (np.isfinite(contract.control_hz) and contract.control_hz > 0):
        wrong["control_hz"] = str(contract.control_hz)
    if contract.chunk_length < 1:
        wrong["chunk_length"] = str(contract.chunk_length)
    return wrong


# What the fields of version 1, which knew neither ranges nor conventions, meant: (part, name, size) -> attributes.
_VERSION_1: dict[tuple[str, str, int], dict[str, Any]] = {
    ("state", "ee_rotation", 6): {"low": -1.0, "high": 1.0, "rotation": "matrix columns 1, 2"},
    ("state", "gripper", 1): {"low": 0.0, "high": 1.0},
    ("action", "ee_translation", 3): {"low": -0.025, "high": 0.025},
    ("action", "ee_rotation", 3): {"low": -0.15, "high": 0.15, "rotation": "rotation vector"},
    ("action", "gripper", 1): {"low": 0.0, "high": 1.0},
}


def from_version_1(contract: L) -> L:
    """The contract with what version 1 left unsaid."""
    state, action = (
        tuple(replace(f, **_VERSION_1.get((part, f.name, f.size), {})) for f in layout)
        for part, layout in (("state", contract.state), ("action", contract.action))
    )
    return replace(contract, state=state, action=action)
