"""Contracts of version 1, which had neither ranges nor rotation conventions, and what they meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from vla_agent.contract.layout import Layout

L = TypeVar("L", bound=Layout)

# (part, name, size) -> the attributes that version 1 left out.
_MEANING: dict[tuple[str, str, int], dict[str, Any]] = {
    ("state", "ee_rotation", 6): {"low": -1.0, "high": 1.0, "rotation": "matrix columns 1, 2"},
    ("state", "gripper", 1): {"low": 0.0, "high": 1.0},
    ("action", "ee_translation", 3): {"low": -0.025, "high": 0.025},
    ("action", "ee_rotation", 3): {"low": -0.15, "high": 0.15, "rotation": "rotation vector"},
    ("action", "gripper", 1): {"low": 0.0, "high": 1.0},
}


def from_version_1(contract: L) -> L:
    """The contract with the attributes that version 1 left out."""
    state, action = (
        tuple(replace(f, **_MEANING.get((part, f.name, f.size), {})) for f in layout)
        for part, layout in (("state", contract.state), ("action", contract.action))
    )
    return replace(contract, state=state, action=action)
