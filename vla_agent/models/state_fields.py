"""Where fields with a meaning lie in a contract's state vector: found by name, once, never by position."""

from __future__ import annotations

from vla_agent.contract import Contract

HAND = ("ee_position", 3, "m")  # name, size, unit
FRAMES = ("base", "world")  # of it, and of the positions that annotations locate


def hand_columns(contract: Contract) -> slice | None:
    """Columns of the end effector's position (3,), metres in one of `FRAMES`; None where the state has none."""
    field = next((f for f in contract.state if f.name == HAND[0]), None)
    if field is None or (field.name, field.size, field.unit) != HAND or field.frame not in FRAMES:
        return None
    return contract.slices(contract.state)[field.name]


def gripper_columns(contract: Contract) -> slice:
    """Columns of the gripper's opening in the state; an empty slice where the state has none."""
    return contract.slices(contract.state).get("gripper", slice(0, 0))
