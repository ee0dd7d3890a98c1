"""Numbers that a mapping picked, in the contract's unit and convention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from vla_agent.data.convert.mapping import FieldSource, Mapping
from vla_agent.data.lerobot import dataset_schema
from vla_agent.errors import DatasetError

Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # joints (J,) -> position (3,), quaternion (4,) wxyz


def vectors(
    mapping: Mapping, values: Callable[[str, FieldSource], np.ndarray], images: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An episode's columns, state (n, D) and action (n, A), and its pictures, all cut to what every field has.

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
    return columns, {camera: film[:n] for camera, film in images.items()}


def field_values(field: FieldSource, picked: np.ndarray, forward: Forward | None, file: object) -> np.ndarray:
    """(n, P) numbers as they were picked -> (n, size) float32 of the contract's field; a delta has (n - 1, size).

    Args:
        forward: the robot's forward kinematics, where the mapping asks for them.
        file: the bag, HDF5 file or dataset, for the error.

    Raises:
        DatasetError: NaN or infinity, or a quaternion without length.
    """
    bad = np.flatnonzero(~np.isfinite(picked).all(axis=1))
    if len(bad):
        _refuse(field, file, "finite numbers", f"NaN or infinity, first in frame {bad[0]}")
    values = picked
    if field.convert.startswith("quaternion"):
        short = np.flatnonzero(np.linalg.norm(picked, axis=1) < 1e-6)
        if len(short):
            _refuse(field, file, "quaternions of length 1", f"length 0, first in frame {short[0]}")
        order = [0, 1, 2, 3] if field.convert.endswith("xyzw") else [1, 2, 3, 0]
        values = _turned(picked[:, order], field.rotation)
    elif field.convert.startswith("forward"):
        assert forward is not None, "the mapping checks it"
        placed = [forward(joints) for joints in picked * field.scale + field.offset]
        if field.convert == "forward_position":
            values = np.stack([position for position, _ in placed])
        else:
            values = _turned(np.stack([quaternion for _, quaternion in placed])[:, [1, 2, 3, 0]], field.rotation)
    if not field.convert.startswith("forward"):
        values = values * field.scale + field.offset
    if field.delta:
        values = _change(values, field.rotation)
    if field.clip:
        values = np.clip(values, field.low, field.high)
    return values.astype(np.float32)


def _change(values: np.ndarray, convention: str) -> np.ndarray:
    """(n, size) -> (n - 1, size): what leads from each row to the next; rotations in the frame that they are in."""
    if not convention:
        return np.diff(values, axis=0)
    turned = Rotation.from_rotvec(values)
    return (turned[1:] * turned[:-1].inv()).as_rotvec().reshape(-1, 3)


def _turned(xyzw: np.ndarray, convention: str) -> np.ndarray:
    """Quaternions (n, 4) in a contract's rotation convention."""
    rotation = Rotation.from_quat(xyzw)
    if convention == "rotation vector":
        return rotation.as_rotvec()
    return rotation.as_matrix()[:, :, :2].transpose(0, 2, 1).reshape(-1, 6)


def _refuse(field: FieldSource, file: object, expected: str, found: str) -> None:
    raise DatasetError(
        "a field holds values that cannot be used",
        file=str(file),
        key=f"{field.at} ({field.name})",
        expected=expected,
        found=found,
        remedy="check what publishes it, or leave this recording out",
    )
