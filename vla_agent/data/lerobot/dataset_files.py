"""A dataset's files: JSON, parquet tables, and the manifest with size and hash of each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.claims.file_claims import hash_files, list_files
from vla_agent.data.lerobot.claims.table_claims import open_table, read_batches
from vla_agent.errors import DatasetError
from vla_agent.files import bounded_reading
from vla_agent.files.input_limits import TABLE_BYTES
from vla_agent.files.write_aside import write_text

GET_AGAIN = "get the dataset again, or collect it again with vla-agent collect"
UNHASHED = (dataset_schema.COLLECTION, dataset_schema.MANIFEST)


def read_json(path: Path, finite: bool = True) -> Any:
    """JSON from a file.

    Args:
        path: the file.
        finite: refuse NaN and infinity.

    Raises:
        DatasetError: it is missing, not JSON, or exceeds a bound of `files.bounded_reading`.
    """
    try:
        return bounded_reading.read_json(path, DatasetError, finite=finite)
    except FileNotFoundError as error:
        found = "no such folder" if not path.parent.parent.exists() else "no such file"
        raise DatasetError(
            "a file of the dataset is missing",
            file=path,
            expected="a LeRobotDataset folder of v3.0, v2.1 or v2.0",
            found=found,
            remedy=GET_AGAIN,
        ) from error
    except ValueError as error:
        raise DatasetError(
            "a file of the dataset is not JSON", file=path, found=error, expected="JSON", remedy=GET_AGAIN
        ) from error


def read_table(path: Path, columns: list[str] | None = None, most: int = TABLE_BYTES, without: str = "/") -> pa.Table:
    """A parquet file as a table.

    Args:
        path: the file.
        columns: names; unknown ones are left out.  None: all.
        most: bytes of the table.
        without: columns whose names begin so are left out.

    Raises:
        DatasetError: it is missing, truncated, not parquet, or larger than `claims.table_claims` allows.
    """
    with readable_table(path), open_table(path) as file:
        known = [name for name in file.schema_arrow.names if not name.startswith(without)]
        wanted = known if columns is None else [name for name in known if name in columns]
        batches = list(read_batches(path, file, wanted, most=most))
        schema = pa.schema([file.schema_arrow.field(name) for name in wanted])
        return pa.Table.from_batches(batches, batches[0].schema if batches else schema)


@contextmanager
def readable_table(path: Path) -> Iterator[None]:
    """Arrow's errors as a typed one.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetError(
            "a table of the dataset is missing",
            file=path,
            expected="a parquet file",
            found="no such file",
            remedy=GET_AGAIN,
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        size = os.path.getsize(path) if os.path.isfile(path) else 0  # a name that is too long has none
        raise DatasetError(
            "a table of the dataset cannot be read",
            file=path,
            expected="a complete parquet file",
            found=f"{size} bytes: {(str(error).splitlines() or [type(error).__name__])[0][:300]}",
            remedy=f"the file is truncated or damaged: {GET_AGAIN}",
        ) from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON indented by four spaces, as LeRobot does; whole or not at all."""
    write_text(path, json.dumps(data, indent=4, ensure_ascii=False) + "\n")


def make_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file by path, in order; without ``meta/collection.json``, which is not hashed."""
    return hash_files(root, list_files(root), UNHASHED)
