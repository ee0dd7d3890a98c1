"""Which values of a state are in another unit than the contract's: such as degrees for radians, or 0 to 255 for 0 to 1.

Sensors may leave a range a little, so only what is far beyond it is named; a wrong unit is wrong by a factor of 57 and
more.
"""

from __future__ import annotations

import numpy as np

from vla_agent.contract.layout import Field

BEYOND = 10.0  # times half of a field's range from its middle
TURNS = 4 * np.pi  # rad: no arm's joint turns further from zero
JOINTS = "joint_position"


def other_units(layout: tuple[Field, ...], state: np.ndarray) -> dict[str, str]:
    """What is wrong of ``state`` (D,), finite, in ``layout``: ``state[i] (field)`` -> value, and what it looks like."""
    wrong: dict[str, str] = {}
    first = 0
    for field in layout:
        low, high = _limits(field)
        for i, value in enumerate(state[first : first + field.size].tolist(), first):
            if not low <= value <= high:
                wrong[f"state[{i}] ({field.name})"] = (
                    f"{value:g} where the unit is {field.unit}: {_guess(field, value)}"
                )
        first += field.size
    return wrong


def _limits(field: Field) -> tuple[float, float]:
    if field.low is not None and field.high is not None:
        middle, half = (field.low + field.high) / 2, (field.high - field.low) / 2
        return middle - BEYOND * half, middle + BEYOND * half
    if field.name == JOINTS and field.unit == "rad":
        return -TURNS, TURNS
    return -np.inf, np.inf


def _guess(field: Field, value: float) -> str:
    if field.rotation or field.unit == "rad":
        return "it looks like degrees"
    if field.low == 0 and field.high == 1:
        for most in (100, 255):
            if 0 < value <= most:
                return f"it looks like 0 to {most}"
    return "it looks like another unit"
