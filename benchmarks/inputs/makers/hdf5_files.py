"""HDF5 files as robomimic, ALOHA and others write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.makers.pictures import coded

FRAMES = 12


def write_hdf5(
    path: Path, arrays: Mapping[str, Any], attributes: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Datasets by path; a value that is a mapping gives the options of ``create_dataset``; attributes by group."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if isinstance(value, Mapping):
                file.create_dataset(name, **value)
            else:
                file[name] = value
        for group, values in (attributes or {}).items():
            for key, value in values.items():
                file.require_group(group).attrs[key] = value
    return path


def pictures(frames: int = FRAMES, height: int = 8, width: int = 8) -> np.ndarray:
    """`coded` pictures (n, H, W, 3) uint8."""
    return np.stack([coded(k, height, width) for k in range(frames)])


def ramp(frames: int = FRAMES, columns: int = 2) -> np.ndarray:
    """Numbers (n, columns): 0.01 times the frame, and 0.1 more in each column."""
    return 0.01 * np.arange(frames)[:, None] + 0.1 * np.arange(columns)


def ordinary(group: str = "data/demo_0", /, **changes: Any) -> dict[str, Any]:
    """One episode: pictures, numbers, actions."""
    arrays = {"obs/img": pictures(), "obs/q": ramp(), "actions": ramp() + 0.001} | changes
    return {f"{group}/{name}": value for name, value in arrays.items() if value is not None}


def byte_rows(encoded: list[bytes], how: str) -> Any:
    """Encoded pictures as people store them: ``padded`` (n, L) uint8, ``ragged`` (n,) of uint8, ``bytes`` (n,) S."""
    if how == "padded":
        rows = np.zeros((len(encoded), max(map(len, encoded))), np.uint8)
        for row, data in zip(rows, encoded, strict=True):
            row[: len(data)] = np.frombuffer(data, np.uint8)
        return rows
    if how == "bytes":
        return np.array(encoded, dtype=f"S{max(map(len, encoded))}")
    import h5py

    ragged = np.empty(len(encoded), object)
    for k, data in enumerate(encoded):
        ragged[k] = np.frombuffer(data, np.uint8)
    return {"data": ragged, "dtype": h5py.vlen_dtype(np.uint8)}
