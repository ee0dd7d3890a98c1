"""What the files of a bag claim, checked before `rosbags` reads them: it decompresses chunks and messages whole.

MCAP: every record lies in the file, every chunk decompresses to the size that it states, the index names real chunks,
and chunks that overlap in time, which are held together, fit into memory.  SQLite: plain tables alone.
"""

from __future__ import annotations

import os
import re
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from ruamel.yaml.error import YAMLError

from vla_agent.errors import DatasetError
from vla_agent.files.bounded_reading import open_regular, require_regular
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.input_limits import BAG_BYTES, BAG_FILES, CHUNK_BYTES, CHUNKS_BYTES, MIB, RECORD_BYTES

FILE_BYTES = 2**40
MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, MESSAGE, CHUNK, CHUNK_INDEX, ATTACHMENT = 1, 2, 3, 5, 6, 8, 9
SCHEMA_BYTES = 2**18  # of all definitions of message types, which a parser in Python reads
CHUNK_RECORDS = 1_000_000
BLOCK = MIB  # decompressed at a time
TABLES = {"messages", "topics", "schema", "metadata", "message_definitions"}
COMPUTED = re.compile(r"\b(AS|VIRTUAL|GENERATED)\b")  # of a table's definition
TEXT_BYTES = MIB  # of one text in a SQLite bag


def check_bag(path: Path) -> None:
    """Check every file of a bag: a folder with metadata.yaml, or one .mcap or .db3 file.

    Raises:
        OSError: a file is missing, or may not be read.
        ValueError: a file is damaged.
        DatasetError: a claim exceeds a bound, or a file lies outside of the bag.
    """
    compression = ""
    files = [path]
    if path.is_dir():
        names, compression = _metadata(path / "metadata.yaml")
        files = [path / name for name in names]
    for file in files:
        if compression == "file":
            _check_file_compression(file)
        elif file.suffix == ".mcap":
            check_mcap(file)
        elif file.suffix == ".db3":
            check_sqlite(file, compression == "message")
        else:
            require_regular(file, DatasetError, FILE_BYTES)


def listed_files(folder: Path) -> list[str]:
    """Names of the files that a bag's metadata.yaml lists; none where it cannot be read."""
    try:
        return _metadata(folder / "metadata.yaml")[0]
    except (OSError, ValueError, DatasetError):
        return []


def _metadata(file: Path) -> tuple[list[str], str]:
    """Names of the bag's files, and its compression: "", file or message."""
    try:
        data = read_yaml(file, DatasetError)
        information = data["rosbag2_bagfile_information"]
        names = [PurePath(name).name for name in information["relative_file_paths"]]
        mode = str(information.get("compression_mode") or "").lower()
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"metadata.yaml: {type(error).__name__}: {error}") from error
    if len(names) > BAG_FILES:
        raise _too_large(file, "relative_file_paths", f"at most {BAG_FILES:,} files", f"{len(names):,}")
    return names, "" if mode == "none" else mode


# -- MCAP ------------------------------------------------------------------------------------------------------------


def check_mcap(path: Path) -> None:
    """Check the records of an MCAP file, see the module."""
    with open_regular(path, DatasetError, FILE_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(8) != MAGIC or size < 8 + 37:
            raise ValueError("no MCAP file")
        file.seek(size - 28)
        summary = int.from_bytes(file.read(8), "little")
        chunks: dict[int, tuple[bytes, int, int]] = {}
        spans: list[tuple[int, int, int]] = []
        schemas, found = 0, not summary
        for place, kind, length in _records(path, file, 8, size - 8):
            found = found or place == summary
            if kind == CHUNK:
                chunks[place], span = _check_chunk(path, file, place, length)
                spans.append(span)
            elif kind == CHUNK_INDEX:
                _check_index(path, file, place, length, chunks)
            elif kind == SCHEMA:
                schemas += length
                if schemas > 4 * SCHEMA_BYTES:  # they occur in the data and in the summary
                    raise _too_large(path, "schemas", f"at most {SCHEMA_BYTES:,} bytes of definitions", f"{schemas:,}")
            elif kind != ATTACHMENT and length > RECORD_BYTES:
                raise _too_large(path, f"record at {place}", f"at most {RECORD_BYTES:,} bytes", f"{length:,}")
        if not found:
            raise ValueError("the summary does not begin at a record")
    _check_overlap(path, spans)


def _records(path: Path, file: BinaryIO, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Place, kind and length of each record."""
    while place < end:
        file.seek(place)
        head = file.read(9)
        length = int.from_bytes(head[1:9], "little")
        if len(head) < 9 or place + 9 + length > end:
            raise ValueError(f"the record at {place} ends outside of the file")
        yield place, head[0], length
        place += 9 + length


def _check_chunk(
    path: Path, file: BinaryIO, place: int, length: int
) -> tuple[tuple[bytes, int, int], tuple[int, int, int]]:
    """Decompress a chunk within its bound; returns what its index must say, and (first time, last time, size)."""
    file.seek(place + 9)
    body = file.read(min(length, 40 + 16 + CHUNK_BYTES))
    stated = int.from_bytes(body[16:24], "little")
    name_size = int.from_bytes(body[28:32], "little")
    if stated > CHUNK_BYTES or name_size > 16 or length > len(body):
        raise _too_large(path, f"chunk at {place}", f"at most {CHUNK_BYTES:,} bytes", f"{stated:,}")
    compression = body[32 : 32 + name_size]
    start = 40 + name_size
    compressed = int.from_bytes(body[start - 8 : start], "little")
    if start + compressed > len(body):
        raise ValueError(f"the chunk at {place} ends outside of its record")
    data = body[start : start + compressed]
    if compression:
        data = b"".join(decompressed(compression.decode("ascii", "replace"), data, stated))
    if len(data) != stated:
        raise _too_large(path, f"chunk at {place}", f"{stated:,} bytes, as it states", f"{len(data):,} or more")
    times = _message_times(path, place, data)
    return (compression, compressed, stated), (min(times, default=0), max(times, default=0), stated)


def _message_times(path: Path, chunk: int, data: bytes) -> list[int]:
    """First and last time of the messages in a chunk, after a check of its records."""
    place, records, first, last = 0, 0, 2**64, -1
    while place < len(data):
        records += 1
        length = int.from_bytes(data[place + 1 : place + 9], "little")
        if records > CHUNK_RECORDS or length > RECORD_BYTES:
            expected = f"at most {CHUNK_RECORDS:,} records of {RECORD_BYTES:,} bytes"
            raise _too_large(path, f"chunk at {chunk}", expected, f"{length:,} bytes in record {records:,}")
        if place + 9 + length > len(data):
            raise ValueError(f"a record ends outside of the chunk at {chunk}")
        if data[place] == MESSAGE and length >= 22:
            time = int.from_bytes(data[place + 15 : place + 23], "little")
            first, last = min(first, time), max(last, time)
        place += 9 + length
    return [first, last] if last >= 0 else []


def _check_index(
    path: Path, file: BinaryIO, place: int, length: int, chunks: dict[int, tuple[bytes, int, int]]
) -> None:
    """The index of a chunk names one that was read, with its compression and sizes."""
    if length > RECORD_BYTES:
        raise _too_large(path, f"record at {place}", f"at most {RECORD_BYTES:,} bytes", f"{length:,}")
    file.seek(place + 9)
    body = file.read(length)
    try:
        (offset,) = struct.unpack_from("<Q", body, 16)
        at = 36 + struct.unpack_from("<I", body, 32)[0] + 8
        (name_size,) = struct.unpack_from("<I", body, at)
        compression = body[at + 4 : at + 4 + name_size]
        compressed, stated = struct.unpack_from("<QQ", body, at + 4 + name_size)
    except struct.error as error:
        raise ValueError(f"the index at {place} is too short") from error
    if chunks.get(offset) != (compression, compressed, stated):
        raise ValueError(f"the index at {place} names no chunk of the file, or another size")


def _check_overlap(path: Path, spans: list[tuple[int, int, int]]) -> None:
    """Chunks whose times overlap are held in memory together."""
    events = sorted([(s[0], 0, s[2]) for s in spans] + [(s[1], 1, -s[2]) for s in spans])
    together = 0
    for time, _, change in events:
        together += change
        if together > CHUNKS_BYTES:
            expected = f"at most {CHUNKS_BYTES:,} bytes of chunks that overlap"
            raise _too_large(path, "chunks", expected, f"{together:,} at {time} ns")


def decompressed(compression: str, data: bytes, most: int) -> Iterator[bytes]:
    """The content of compressed frames (``zstd`` or ``lz4``) in blocks; at most one block more than ``most`` bytes.

    Raises:
        ValueError: another compression, or damaged.
    """
    total = 0
    try:
        while data and total <= most:
            decompressor = _decompressor(compression)
            block = decompressor.decompress(data, max_length=BLOCK)
            while block or not decompressor.eof:
                if not block and decompressor.needs_input:
                    raise ValueError("the compressed data end too early")
                yield block
                total += len(block)
                if total > most:
                    return
                block = b"" if decompressor.eof else decompressor.decompress(b"", max_length=BLOCK)
            data = decompressor.unused_data or b""
    except (RuntimeError, EOFError, _errors()) as error:
        raise ValueError(f"{compression}: {error}") from error


def _decompressor(compression: str) -> Any:
    if compression == "zstd":
        return _zstd().ZstdDecompressor()
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor

        return LZ4FrameDecompressor()
    raise ValueError(f"the compression {compression[:40]!r}, not zstd or lz4")


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # of Python 3.14
    except ImportError:
        from backports import zstd  # which rosbags needs
    return zstd


def _errors() -> type[Exception]:
    return _zstd().ZstdError  # type: ignore[no-any-return]


def _check_file_compression(file: Path) -> None:
    """A file that is compressed as a whole is decompressed to the disk."""
    with open_regular(file, DatasetError, FILE_BYTES) as opened, _zstd().open(opened, "rb") as content:
        total = 0
        while block := content.read(BLOCK):
            total += len(block)
            if total > BAG_BYTES:
                raise _too_large(file, "size", f"at most {BAG_BYTES:,} bytes uncompressed", "more")


# -- SQLite ----------------------------------------------------------------------------------------------------------


def check_sqlite(path: Path, compressed: bool) -> None:
    """Check that a SQLite bag has plain tables with messages and texts within bounds; ``compressed``: each message."""
    require_regular(path, DatasetError, FILE_BYTES)
    try:
        connection = sqlite3.connect(f"file:{os.path.abspath(path)}?immutable=1", uri=True)
        try:
            _check_tables(path, connection)
            sizes = {"messages": {"data": RECORD_BYTES}, "topics": {"*": TEXT_BYTES}}
            sizes["message_definitions"] = {"encoded_message_definition": SCHEMA_BYTES}
            for table, columns in sizes.items():
                for column, most in columns.items():
                    _check_column(path, connection, table, column, most)
            if compressed:
                for (data,) in connection.execute("SELECT data FROM messages"):
                    size = sum(map(len, decompressed("zstd", bytes(data), RECORD_BYTES)))
                    if size > RECORD_BYTES:
                        raise _too_large(path, "messages", f"at most {RECORD_BYTES:,} bytes uncompressed", "more")
        finally:
            connection.close()
    except (sqlite3.Error, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _check_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Only plain tables and indices: views, triggers and computed columns make rows of nothing."""
    for kind, name, sql in connection.execute("SELECT type, name, substr(sql, 1, 5000) FROM sqlite_master LIMIT 100"):
        text = (sql or "").upper()
        plain = kind == "index" or kind == "table" and (name in TABLES or name.startswith("sqlite_"))
        if not plain or kind == "table" and COMPUTED.search(text):
            raise _too_large(
                path, str(name)[:100], f"plain tables: {', '.join(sorted(TABLES))}", f"{kind}: {text[:100]}"
            )


def _check_column(path: Path, connection: sqlite3.Connection, table: str, column: str, most: int) -> None:
    """The largest value of a column, from the rows' headers; ``*``: of every column."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    for name in names if column == "*" else [column] if column in names else []:
        (largest,) = connection.execute(f'SELECT max(length("{name}")) FROM {table}').fetchone()
        if (largest or 0) > most:
            raise _too_large(path, f"{table}.{name}"[:100], f"at most {most:,} bytes", f"{largest:,}")


def _too_large(path: Path, key: str, expected: str, found: str) -> DatasetError:
    return DatasetError(
        "a bag claims more than any that is expected",
        file=path,
        key=key,
        expected=expected,
        found=found,
        remedy="check that it is the right file; record in smaller chunks, with smaller images",
    )
