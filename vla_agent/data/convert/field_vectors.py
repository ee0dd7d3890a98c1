"""Converts picked numbers to fields of the contract: unit, rotation convention, deltas, limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from vla_agent.contract.units import known_unit
from vla_agent.data.convert.mapping import FieldSource, Mapping
from vla_agent.data.lerobot import dataset_schema
from vla_agent.errors import DatasetError

Counts = dict[str, dict[str, int]]  # part.field -> what was changed of its values: how many
TURNS = {"rad": 2 * np.pi, "deg": 360.0}  # unit of an angle -> a whole turn

UNIT_LENGTH = 0.05  # by which a quaternion's length may differ from 1: further off, other numbers were picked

Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # joints (J,) -> position (3,), quaternion (4,) wxyz


def vectors(
    mapping: Mapping, values: Callable[[str, FieldSource], np.ndarray], images: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An episode's columns, state (n, D) and action (n, A), and its images, all cut to the shortest field.

    Args:
        values: part ("state", "action") and field -> (n, size), as `field_values` makes them.
        images: camera -> (n, H, W, 3).
    """
    parts = {"state": mapping.state, "action": mapping.action}
    rows = {part: [values(part, field) for field in fields] for part, fields in parts.items()}
    n = min(len(row) for part in rows.values() for row in part)
    columns = {
        name: np.concatenate([row[:n] for row in rows[part]], axis=1)
        for name, part in ((dataset_schema.STATE, "state"), (dataset_schema.ACTION, "action"))
    }
    return columns, {camera: frames[:n] for camera, frames in images.items()}


def field_values(
    field: FieldSource, picked: np.ndarray, forward: Forward | None, file: object, counts: dict[str, int]
) -> np.ndarray:
    """Picked numbers (n, P) as the contract's field (n, size) float32; a delta has (n - 1, size).

    Args:
        field: how they are converted.
        picked: the numbers as recorded.
        forward: the robot's forward kinematics, where the mapping needs them.
        file: the bag, HDF5 file or dataset, for the error.
        counts: gets the number of values that were ``clipped``, and of changes that went ``around`` a whole turn.

    Raises:
        DatasetError: NaN or infinity, also as float32, or a quaternion that is none, by its length.
    """
    bad = np.flatnonzero(~np.isfinite(picked).all(axis=1))
    if len(bad):
        _raise_unusable(field, file, "finite numbers", f"NaN or infinity, first in frame {bad[0]}")
    values = picked
    if field.convert.startswith("quaternion"):
        lengths = np.linalg.norm(picked, axis=1)
        wrong = np.flatnonzero(np.abs(lengths - 1) > UNIT_LENGTH)
        if len(wrong):
            found = f"{picked[wrong[0]].round(4).tolist()} of length {lengths[wrong[0]]:.3g}, first in frame {wrong[0]}"
            _raise_unusable(field, file, "quaternions of length 1", found)
        order = [0, 1, 2, 3] if field.convert.endswith("xyzw") else [1, 2, 3, 0]
        values = _rotation_field(picked[:, order], field.rotation)
    elif field.convert.startswith("forward"):
        assert forward is not None, "the mapping checks it"
        poses = [forward(joints) for joints in picked * field.scale + field.offset]
        if field.convert == "forward_position":
            values = np.stack([position for position, _ in poses])
        else:
            values = _rotation_field(np.stack([quaternion for _, quaternion in poses])[:, [1, 2, 3, 0]], field.rotation)
    if not field.convert.startswith("forward"):
        values = values * field.scale + field.offset
    if field.delta:
        values = _deltas(values, field, counts)
    if field.clip:
        inside = np.clip(values, field.low, field.high)
        _count(counts, "clipped", int((inside != values).sum()))
        values = inside
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(narrow).all(axis=1))
    if len(bad):
        found = f"{values[bad[0]].tolist()}, first in frame {bad[0]}"
        _raise_unusable(field, file, f"numbers up to {np.finfo(np.float32).max:.2g}, also after scale", found)
    return narrow


def _count(counts: dict[str, int], what: str, number: int) -> None:
    if number:
        counts[what] = number


def _deltas(values: np.ndarray, field: FieldSource, counts: dict[str, int]) -> np.ndarray:
    """Changes (n - 1, size) from each row (n, size) to the next; rotations in their own frame, angles within half a
    turn: an encoder that counts from -pi to pi jumps by a whole one."""
    turn = TURNS.get(known_unit(field.unit.split()[0])) if field.unit.strip() else None
    if not field.rotation:
        change = np.diff(values, axis=0)
        if turn is None:
            return change
        turns = np.round(change / turn)
        _count(counts, "around", int((turns != 0).sum()))
        return change - turn * turns
    rotations = Rotation.from_rotvec(values)
    return (rotations[1:] * rotations[:-1].inv()).as_rotvec().reshape(-1, 3)


def _rotation_field(xyzw: np.ndarray, convention: str) -> np.ndarray:
    """Quaternions (n, 4) in a rotation convention of the contract: (n, 3) or (n, 6)."""
    rotation = Rotation.from_quat(xyzw)
    if convention == "rotation vector":
        return rotation.as_rotvec()
    return rotation.as_matrix()[:, :, :2].transpose(0, 2, 1).reshape(-1, 6)


def _raise_unusable(field: FieldSource, file: object, expected: str, found: str) -> None:
    raise DatasetError(
        "a field holds values that cannot be used",
        file=str(file),
        key=f"{field.at} ({field.name})",
        expected=expected,
        found=found,
        remedy="check what publishes it, or leave this recording out",
    )
