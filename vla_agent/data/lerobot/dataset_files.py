"""A dataset's files: JSON, parquet tables, and the manifest with size and hash of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vla_agent.data.lerobot import dataset_schema
from vla_agent.errors import DatasetError
from vla_agent.files.hashing import hash_file
from vla_agent.files.write_aside import write_text

GET_AGAIN = "get the dataset again, or collect it again with vla-agent collect"


def read_json(path: Path) -> Any:
    """JSON from a file.

    Raises:
        DatasetError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        found = "no such folder" if not path.parent.parent.exists() else "no such file"
        raise DatasetError(
            "a file of the dataset is missing",
            file=path,
            expected="a LeRobotDataset folder of v3.0 or v2.1",
            found=found,
            remedy=GET_AGAIN,
        ) from error
    except ValueError as error:
        raise DatasetError(
            "a file of the dataset is not JSON", file=path, found=error, expected="JSON", remedy=GET_AGAIN
        ) from error


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A parquet file as a table; unknown ``columns`` are left out.

    Raises:
        DatasetError: it is missing, truncated or not parquet.
    """
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except FileNotFoundError as error:
        raise DatasetError(
            "a table of the dataset is missing",
            file=path,
            expected="a parquet file",
            found="no such file",
            remedy=GET_AGAIN,
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            "a table of the dataset cannot be read",
            file=path,
            expected="a complete parquet file",
            found=f"{path.stat().st_size} bytes: {str(error).splitlines()[0]}",
            remedy=f"the file is truncated or damaged: {GET_AGAIN}",
        ) from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON indented by four spaces, as LeRobot does; whole or not at all."""
    write_text(path, json.dumps(data, indent=4, ensure_ascii=False) + "\n")


def make_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file by path, in order; without ``meta/collection.json``, which is not hashed."""
    files = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if name not in (dataset_schema.COLLECTION, dataset_schema.MANIFEST):
            files[name] = {"bytes": path.stat().st_size, "sha256": hash_file(path)}
    return files
