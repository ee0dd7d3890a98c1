"""Parquet files within bounds: footer, rows, and every page's header are read before any column is.

A footer may claim less than its pages hold, and a few bytes may stand for a thousand million repeated values.  So the
sizes are added up from the pages' own headers; text, whose repetitions no header shows, comes in small batches that are
counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vla_agent.data.lerobot.claims.thrift import ThriftReader
from vla_agent.errors import DatasetError
from vla_agent.files.bounded_reading import open_regular
from vla_agent.files.input_limits import MIB, TABLE_BYTES, TABLE_ROWS

FILE_BYTES = 16 * 2**30  # of one file; only footers and wanted columns are read
FOOTER_BYTES = 16 * MIB
FOOTER_FREE = MIB // 2  # a footer up to this size is parsed without counting: at most 300 times its size
FOOTER_FIELDS = 1_000_000  # of a larger one
HEADER_BYTES = 64 * 2**10  # of one page
HEADER_FIELDS = 256
COLUMNS = 2048  # 20 of the frames, and a few hundred with the statistics of episodes
PAGES = 100_000  # of the wanted columns
PAGE_BYTES = 256 * MIB  # of one page, uncompressed
BATCH_ROWS = 65_536
BATCH_BYTES = 64 * MIB  # of one batch of text
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
DICTIONARY = 2  # type of a page


def open_table(path: Path) -> pq.ParquetFile:
    """A parquet file whose footer is within bounds.

    Raises:
        OSError, pa.ArrowException: it is missing, or no parquet file.
        DatasetError: the footer is too large, or it states too many rows.
    """
    with open_regular(path, DatasetError, FILE_BYTES) as file:
        _check_footer(path, file)
    file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
    if file.metadata.num_columns > COLUMNS:
        file.close()
        raise _too_large(path, "columns", f"at most {COLUMNS:,} columns", f"{file.metadata.num_columns:,}")
    rows = file.metadata.num_rows
    groups = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
    if not 0 <= rows <= TABLE_ROWS or min(groups, default=0) < 0 or sum(groups) != rows:
        file.close()
        raise _too_large(path, "rows", f"at most {TABLE_ROWS:,} rows", f"{rows:,} rows, {sum(groups):,} in its groups")
    return file


def _check_footer(path: Path, file: BinaryIO) -> None:
    """Length and number of fields of the footer, the file's last part."""
    size = os.fstat(file.fileno()).st_size
    if size < 12:
        return  # Arrow says so
    file.seek(size - 8)
    length = int.from_bytes(file.read(4), "little")
    if length > FOOTER_BYTES:
        raise _too_large(path, "footer", f"at most {FOOTER_BYTES:,} bytes", f"{length:,} bytes")
    if FOOTER_FREE < length <= size - 8:
        file.seek(size - 8 - length)
        try:
            ThriftReader(file.read(length), FOOTER_FIELDS).struct()
        except ValueError as error:
            raise _too_large(path, "footer", f"at most {FOOTER_FIELDS:,} fields", error) from error


def read_batches(
    path: Path,
    file: pq.ParquetFile,
    columns: list[str] | None,
    groups: list[int] | None = None,
    most: int = TABLE_BYTES,
) -> Iterator[pa.RecordBatch]:
    """The columns in batches of rows, after every page's header has been checked.

    Args:
        path: of the file, for the error.
        file: from `open_table`.
        columns: names; None: all.
        groups: numbers of the row groups; None: all.
        most: bytes of the columns.

    Raises:
        pa.ArrowException, OSError: the file is damaged.
        DatasetError: the columns take more than ``most`` bytes.
    """
    groups = list(range(file.metadata.num_row_groups)) if groups is None else groups
    with open_regular(path, DatasetError, FILE_BYTES) as opened:
        longest = _check_pages(_Pages(path, opened, file.metadata, most), columns, groups)
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(longest, 1)))
    total = 0
    for batch in file.iter_batches(batch_size=rows, row_groups=groups, columns=columns, use_threads=False):
        batch = _plain(path, batch)
        total += batch.nbytes
        if total > most:
            raise _too_large(path, "columns", f"at most {most:,} bytes", "more")
        yield batch


def _plain(path: Path, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns that are stored as a dictionary, as the values themselves, which are then counted."""
    made = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if "dictionary<" in str(column.type):
            raise _too_large(path, name, "lists of plain values", str(column.type)[:200])
        made[name] = column
    return pa.RecordBatch.from_pydict(made) if made else batch


@dataclass
class _Pages:
    """The pages of a file, and the bytes that those seen so far take."""

    path: Path
    file: BinaryIO
    metadata: Any
    most: int
    pages: int = 0
    uncompressed: int = 0
    values: int = 0
    longest: int = 0  # dictionary of text

    def add(self, chunk: Any, kind: int, count: int, size: int) -> None:
        """Enter one page; raises where the sum exceeds a bound."""
        self.pages, self.uncompressed = self.pages + 1, self.uncompressed + size
        if kind != DICTIONARY:
            self.values += count * WIDTHS.get(chunk.physical_type, 64)
        elif chunk.physical_type == "BYTE_ARRAY":
            self.longest = max(self.longest, size)
        if max(self.uncompressed, self.values) > self.most or size > PAGE_BYTES or self.pages > PAGES:
            found = f"{self.uncompressed:,} bytes for {self.values:,} bytes of values in {self.pages:,} pages, or more"
            raise _too_large(self.path, chunk.path_in_schema, f"at most {self.most:,} bytes", found)


def _check_pages(seen: _Pages, columns: list[str] | None, groups: list[int]) -> int:
    """Check all pages of the wanted columns; returns the size of the largest dictionary of text."""
    for number in groups:
        group = seen.metadata.row_group(number)
        for k in range(group.num_columns):
            chunk = group.column(k)
            if columns is None or _belongs(chunk.path_in_schema, columns):
                for kind, count, size in _page_headers(seen.path, seen.file, chunk):
                    seen.add(chunk, kind, count, size)
    return seen.longest


def _belongs(leaf: str, columns: list[str]) -> bool:
    """Whether a leaf, as ``observation.state.list.element``, is read with one of the columns, whose names have dots."""
    return any(leaf == name or leaf.startswith(f"{name}.") for name in columns)


def _page_headers(path: Path, file: BinaryIO, chunk: Any) -> Iterator[tuple[int, int, int]]:
    """Type, number of values and uncompressed size of each page of a column chunk."""
    starts = [chunk.data_page_offset, chunk.dictionary_page_offset if chunk.has_dictionary_page else None]
    place = min(start for start in starts if start is not None)
    stop = place + chunk.total_compressed_size
    while place < stop:
        file.seek(place)
        reader = ThriftReader(file.read(HEADER_BYTES), HEADER_FIELDS)
        try:
            header = reader.struct()
            described = header.get(5) or header.get(8) or header.get(7) or {}
            kind, size, stored = header[1], header[2], header[3]
            count = described.get(1, 0) if isinstance(described, dict) else -1
        except (ValueError, KeyError) as error:
            raise _damaged(path, chunk.path_in_schema, error) from error
        if any(type(n) is not int or n < 0 for n in (kind, size, stored, count)):
            raise _damaged(path, chunk.path_in_schema, "a negative number in a page's header")
        yield kind, count, size
        place += reader.place + stored


def _too_large(path: Path, key: str, expected: str, found: object) -> DatasetError:
    remedy = "check that it is the right file; write a larger table as several files, as LeRobot does"
    return DatasetError(
        "a table of the dataset is larger than any that is expected",
        file=path,
        key=key,
        expected=expected,
        found=found,
        remedy=remedy,
    )


def _damaged(path: Path, key: str, found: object) -> DatasetError:
    return DatasetError(
        "a table of the dataset cannot be read",
        file=path,
        key=key,
        expected="a complete parquet file",
        found=found,
        remedy="the file is truncated or damaged: get the dataset again",
    )
