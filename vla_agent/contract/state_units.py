"""Which values of a state cannot be in the contract's units: degrees for radians, 0 to 255 for 0 to 1, millimetres for
metres, six zeros for a rotation.

Sensors may leave a range a little, so a quarter of a range beyond its ends is let through; a wrong unit is wrong by a
factor of 57 and more.
"""

from __future__ import annotations

import numpy as np

from vla_agent.contract.layout import Field
from vla_agent.contract.units import known_unit

BEYOND = 1.5  # times half of a field's range from its middle
TURNS = {"rad": 4 * np.pi, "deg": 720.0}  # no arm's joint turns further from zero
REACH = {"m": 20.0, "mm": 20_000.0}  # from its base: no arm reaches further
FIXED = ("base", "world", "")  # frames in which an arm stays
ROTATION = 0.05  # by which a rotation's columns may differ from length 1, and from a right angle
COLUMNS, VECTOR, QUATERNION = "matrix columns 1, 2", "rotation vector", "quaternion"


def other_units(layout: tuple[Field, ...], state: np.ndarray) -> dict[str, str]:
    """What is wrong of ``state`` (D,), finite, in ``layout``: ``state[i] (field)`` -> value, and what it looks like."""
    wrong: dict[str, str] = {}
    first = 0
    for field in layout:
        low, high = _limits(field)
        values = state[first : first + field.size].astype(np.float64)
        for i, value in enumerate(values.tolist(), first):
            if not low <= value <= high:
                wrong[f"state[{i}] ({field.name})"] = (
                    f"{value:g} where the unit is {field.unit}: {_guess(field, value)}"
                )
        no_rotation = _no_rotation(field, values)
        if no_rotation and not any(key.endswith(f"({field.name})") for key in wrong):
            wrong[f"state[{first}] ({field.name})"] = no_rotation
        first += field.size
    return wrong


def first_in_other_units(layout: tuple[Field, ...], states: np.ndarray) -> int | None:
    """The first row of ``states`` (N, D) of which `other_units` says something; None where there is none."""
    low, high = np.array([_limits(field) for field in layout for _ in range(field.size)]).T
    suspect = ~((states >= low) & (states <= high)).all(axis=1)
    first = 0
    for field in layout:
        if field.rotation in (COLUMNS, VECTOR) or _is_quaternion(field):
            suspect |= _far_from_rotation(field, states[:, first : first + field.size])
        first += field.size
    rows = (int(row) for row in np.flatnonzero(suspect))
    return next((row for row in rows if np.isfinite(states[row]).all() and other_units(layout, states[row])), None)


def _far_from_rotation(field: Field, values: np.ndarray) -> np.ndarray:
    """Which rows (N,) of ``values`` (N, size) `_no_rotation` may refuse."""
    if field.rotation == VECTOR:
        return np.asarray(np.linalg.norm(values, axis=1) > 2 * np.pi)
    if _is_quaternion(field):
        return np.asarray(np.abs(np.linalg.norm(values, axis=1) - 1) > 0.9 * ROTATION)
    if field.size != 6:
        return np.zeros(len(values), bool)
    columns = values.reshape(-1, 2, 3)
    lengths, dots = np.linalg.norm(columns, axis=2), (columns[:, 0] * columns[:, 1]).sum(axis=1)
    return np.asarray((np.abs(lengths - 1) > 0.9 * ROTATION).any(axis=1) | (np.abs(dots) > 0.9 * ROTATION))


def _limits(field: Field) -> tuple[float, float]:
    if field.low is not None and field.high is not None:
        middle, half = (field.low + field.high) / 2, (field.high - field.low) / 2
        return middle - BEYOND * half, middle + BEYOND * half
    unit = known_unit(field.unit)
    if unit in TURNS:
        return -TURNS[unit], TURNS[unit]
    if unit in REACH and field.frame in FIXED:
        return -REACH[unit], REACH[unit]
    return -np.inf, np.inf


def _is_quaternion(field: Field) -> bool:
    return field.size == 4 and field.rotation.startswith(QUATERNION)


def _no_rotation(field: Field, values: np.ndarray) -> str:
    """Why ``values`` are no rotation of the field's convention; empty where they are one."""
    if field.rotation == VECTOR and np.linalg.norm(values) > 2 * np.pi + ROTATION:
        return f"{np.round(values, 3).tolist()} turns by more than 2 pi: it looks like degrees"
    if _is_quaternion(field) and abs(np.linalg.norm(values) - 1) > ROTATION:
        looks = "no rotation was measured" if not values.any() else "it looks like another convention of rotations"
        return f"{np.round(values, 3).tolist()} has another length than 1: {looks}"
    if field.rotation != COLUMNS or field.size != 6:
        return ""
    columns = values.reshape(2, 3)
    lengths, dot = np.linalg.norm(columns, axis=1), float(columns[0] @ columns[1])
    if (np.abs(lengths - 1) <= ROTATION).all() and abs(dot) <= ROTATION:
        return ""
    looks = "no rotation was measured" if not values.any() else "it looks like another convention of rotations"
    return f"{np.round(values, 3).tolist()} are no two columns of a rotation matrix: {looks}"


def _guess(field: Field, value: float) -> str:
    unit = known_unit(field.unit)
    if field.rotation or unit == "rad":
        return "it looks like degrees"
    if unit == "m":
        return "it looks like millimetres"
    if field.low == 0 and field.high == 1:
        for most in (100, 255):
            if 0 < value <= most:
                return f"it looks like 0 to {most}"
    return "it looks like another unit"
