"""Bombs in recordings: chunks of MCAP, rows of SQLite, shapes and filters of HDF5."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.bounded_child import Case

MAPPING = """format: {kind}
control_hz: 10
{episodes}
cameras: [{{name: front, at: {camera}, height: 8, width: 8}}]
state: [{{name: q, at: {joints}, pick: [{pick}], unit: rad}}]
action: [{{name: u, at: {joints}, pick: [{pick}], unit: rad}}]
instruction: {{text: go}}
"""
MAGIC = b"\x89MCAP0\r\n"


def _convert(name: str) -> Callable[[Path], Any]:
    """Convert the recording, as the command does."""

    def read(folder: Path) -> Any:
        from vla_agent.data.convert.convert import convert

        words = {"kind": "bag", "episodes": "", "camera": "/cam", "joints": "/joints", "pick": "q"}
        if name == "a.hdf5":
            words = {
                "kind": "hdf5",
                "episodes": "episodes: data/*",
                "camera": "images",
                "joints": "joints",
                "pick": "0",
            }
        (folder / "mapping.yaml").write_text(MAPPING.format(**words))
        return convert(folder / name, folder / "mapping.yaml", folder / "out")

    return read


# -- MCAP ------------------------------------------------------------------------------------------------------------


def _record(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + struct.pack("<Q", len(body)) + body


def _string(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def _chunk(compression: bytes, data: bytes, size: int, start: int = 0, end: int = 1) -> bytes:
    head = struct.pack("<QQQI", start, end, size, 0) + _string(compression) + struct.pack("<Q", len(data))
    return _record(6, head + data)


def _mcap(*records: bytes, summary: int = 0) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        body = MAGIC + _record(1, _string(b"ros2") + _string(b"")) + b"".join(records) + _record(15, bytes(4))
        (folder / "a.mcap").write_bytes(body + _record(2, struct.pack("<QQI", summary, 0, 0)) + MAGIC)

    return make


def _packed(compression: str, size: int) -> bytes:
    """Zeros, compressed a thousandfold and more."""
    if compression == "lz4":
        from lz4.frame import LZ4FrameCompressor

        packer: Any = LZ4FrameCompressor()
        parts = [packer.begin()]
    else:
        from backports.zstd import ZstdCompressor

        packer, parts = ZstdCompressor(), []
    for _ in range(size // 10**7):
        parts.append(packer.compress(bytes(10**7)))
    return b"".join([*parts, packer.flush()])


def _later(make: Callable[[], Callable[[Path], Any]]) -> Callable[[Path], Any]:
    """A bomb that is made in the child process."""
    return lambda folder: make()(folder)


def _bags() -> dict[str, Callable[[Path], Any]]:
    size = 3 * 10**9
    return {
        "a zstd chunk of 3 GB": _later(lambda: _mcap(_chunk(b"zstd", _packed("zstd", size), size))),
        "a zstd chunk of 3 GB that states 1 kB": _later(lambda: _mcap(_chunk(b"zstd", _packed("zstd", size), 1000))),
        "an lz4 chunk of 3 GB": _later(lambda: _mcap(_chunk(b"lz4", _packed("lz4", size), size))),
        "an lz4 chunk of 3 GB that states 60 MB": _later(
            lambda: _mcap(_chunk(b"lz4", _packed("lz4", size), 60_000_000))
        ),
        "a record that states 2^60 bytes": _mcap(b"\x05" + struct.pack("<Q", 2**60)),
        "a summary inside of an attachment": _later(lambda: _hidden(size)),
        "twenty chunks of 20 MB at one time": _later(_together),
        "definitions of 30 MB": _mcap(
            _record(
                3, struct.pack("<H", 1) + _string(b"a/msg/B") + _string(b"ros2msg") + _string(b"int8 a\n" * 4_000_000)
            )
        ),
        "7 million records in a chunk": _later(lambda: _mcap(_chunk(b"", _record(10, b"") * 7_000_000, 63_000_000))),
    }


def _together() -> Callable[[Path], Any]:
    message = _record(5, struct.pack("<HIQQ", 0, 0, 5, 5) + bytes(20_000_000))
    return _mcap(*[_chunk(b"", message, len(message)) for _ in range(20)])


def _hidden(size: int) -> Callable[[Path], Any]:
    """A zstd bomb and its index lie inside of an attachment, to which the footer points."""
    bomb = _packed("zstd", size)
    chunk = _chunk(b"zstd", bomb, size)
    place = 8 + len(_record(1, _string(b"ros2") + _string(b""))) + 9
    index = struct.pack("<QQQQ", 0, 1, place, len(chunk)) + struct.pack("<IQ", 0, 0) + _string(b"zstd")
    index = _record(8, index + struct.pack("<QQ", len(bomb), size))
    return _mcap(_record(9, chunk + index + _record(2, bytes(20))), summary=place + len(chunk))


# -- SQLite ----------------------------------------------------------------------------------------------------------

TOPICS = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT,"
    " offered_qos_profiles TEXT)"
)
MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"


def _sqlite(*statements: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        connection = sqlite3.connect(folder / "a.db3")
        for statement in (TOPICS, *statements):
            connection.execute(statement)
        for number, (topic, kind) in enumerate((("/cam", "Image"), ("/joints", "JointState")), 1):
            row = (number, topic, f"sensor_msgs/msg/{kind}", "cdr", "")
            connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
        connection.close()

    return make


def _databases() -> dict[str, Callable[[Path], Any]]:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    return {
        "a message of 900 MB": _sqlite(MESSAGES, "INSERT INTO messages VALUES (1, 1, 1, zeroblob(900000000))"),
        "a computed column of 1 GB": _sqlite(
            MESSAGES.replace("BLOB)", "BLOB GENERATED ALWAYS AS (zeroblob(900000000)))"),
            "INSERT INTO messages(id, topic_id, timestamp) VALUES (1, 1, 1)",
        ),
        "a view of endless rows": _sqlite(
            MESSAGES, f"CREATE VIEW schema AS {endless} SELECT max(i) AS schema_version FROM n"
        ),
    }


def _folder(name: str, text: str, more: Callable[[Path], Any] = lambda folder: None) -> Callable[[Path], Any]:
    """A bag in a folder, with this metadata.yaml."""

    def make(folder: Path) -> None:
        (folder / name).mkdir()
        (folder / name / "metadata.yaml").write_text(text)
        more(folder / name)

    return make


def _compressed_file(folder: Path) -> None:
    (folder / "a.db3.zstd").write_bytes(_packed("zstd", 4 * 10**9))


METADATA = """rosbag2_bagfile_information:
  version: 4
  storage_identifier: sqlite3
  relative_file_paths: [{files}]
  duration: {{nanoseconds: 1}}
  starting_time: {{nanoseconds_since_epoch: 1}}
  message_count: 1
  topics_with_message_count: []
  compression_format: zstd
  compression_mode: {mode}
"""


# -- HDF5 ------------------------------------------------------------------------------------------------------------


def _hdf5(write: Callable[[Any], Any]) -> Callable[[Path], Any]:
    """A file with one episode; ``write`` adds what is wrong."""

    def make(folder: Path) -> None:
        import h5py
        import numpy as np

        with h5py.File(folder / "a.hdf5", "w") as file:
            group = file.create_group("data/demo_0")
            group["images"] = np.zeros((8, 8, 8, 3), np.uint8)
            group["joints"] = np.zeros((8, 1))
            write(group)

    return make


def _replace(name: str, **options: Any) -> Callable[[Any], Any]:
    def write(group: Any) -> None:
        del group[name]
        group.create_dataset(name, **options)

    return write


def _deflated(group: Any) -> None:
    """A chunk of 800 bytes whose deflated stream goes on for 2 GB."""
    import zlib

    del group["joints"]
    made = group.create_dataset("joints", (8, 1), "f8", chunks=(8, 1), compression="gzip")
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(10**7)) for _ in range(200)) + packer.flush()
    made.id.write_direct_chunk((0, 0), data)


def _linked(group: Any) -> None:
    import h5py

    del group["joints"]
    group["joints"] = h5py.ExternalLink("/dev/zero", "/joints")


def _virtual(group: Any) -> None:
    import h5py

    del group["joints"]
    layout = h5py.VirtualLayout((8, 1), "f8")
    layout[:] = h5py.VirtualSource("/dev/zero", "x", (8, 1))
    group.create_virtual_dataset("joints", layout)


def _references(group: Any) -> None:
    import h5py

    del group["joints"]
    group.create_dataset("joints", (8, 1), h5py.ref_dtype)


def _files() -> dict[str, Callable[[Path], Any]]:
    return {
        "10^11 numbers": _hdf5(_replace("joints", shape=(8, 10**10), dtype="f8", chunks=(1, 1000))),
        "a chunk of 3 GB": _hdf5(
            _replace("joints", shape=(8, 1), dtype="f8", maxshape=(None, None), chunks=(400, 10**6), fillvalue=1.0)
        ),
        "a chunk that inflates to 2 GB": _hdf5(_deflated),
        "images of 10^9 pixels": _hdf5(
            _replace("images", shape=(8, 32_000, 32_000, 3), dtype="u1", chunks=(1, 8, 8, 3))
        ),
        "a link to another file": _hdf5(_linked),
        "a virtual dataset of another file": _hdf5(_virtual),
        "references to objects": _hdf5(_references),
        "data in another file": _hdf5(_replace("joints", shape=(8, 1), dtype="f8", external=[("/dev/zero", 0, 64)])),
    }


def cases() -> Iterator[Case]:
    """Each is converted, as the command does it."""
    for name, make in _bags().items():
        yield Case("MCAP", name, make, _convert("a.mcap"))
    for name, make in _databases().items():
        yield Case("SQLite bag", name, make, _convert("a.db3"))
    deep = "rosbag2_bagfile_information: " + "[" * 100_000
    yield Case("bag in a folder", "100,000 nested lists in its metadata", _folder("b", deep), _convert("b"))
    files = ", ".join(f"f{k}.db3" for k in range(5000))
    yield Case("bag in a folder", "5,000 files", _folder("b", METADATA.format(files=files, mode="none")), _convert("b"))
    fifo = _folder("b", METADATA.format(files="a.db3", mode="none"), lambda folder: os.mkfifo(folder / "a.db3"))
    yield Case("bag in a folder", "a FIFO for its file", fifo, _convert("b"))
    whole = _folder("b", METADATA.format(files="a.db3.zstd", mode="FILE"), _compressed_file)
    yield Case("bag in a folder", "a compressed file of 4 GB", whole, _convert("b"))
    for name, make in _files().items():
        yield Case("HDF5", name, make, _convert("a.hdf5"))
