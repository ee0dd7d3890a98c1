"""Bombs in the folder of a dataset: its description, its tables, its lines of JSON; and shards of generated images."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.bounded_child import Case

INFO, DATA, TASKS = "meta/info.json", "data/chunk-000/file-000.parquet", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def _dataset(folder: Path) -> Path:
    """A dataset of one episode without a manifest, whose tables may then be changed."""
    import numpy as np

    from vla_agent.contract import Camera, Contract, Field
    from vla_agent.data.lerobot import dataset_schema
    from vla_agent.data.lerobot.dataset_writer import write_dataset
    from vla_agent.data.lerobot.episode import Episode, encode

    state, action = (Field("q", 3, "rad"),), (Field("u", 1, "rad"),)
    contract = Contract((Camera("front", 8, 8),), state, action, control_hz=20.0, chunk_length=4)
    columns = {dataset_schema.STATE: np.zeros((4, 3), np.float32), dataset_schema.ACTION: np.zeros((4, 1), np.float32)}
    episode = Episode("go", columns, {"front": np.zeros((4, 8, 8, 3), np.uint8)})
    write_dataset(folder / "d", contract, [encode(episode, "images", 20)], "images")
    (folder / "d" / dataset_schema.MANIFEST).unlink()
    return folder / "d"


def _read(folder: Path) -> Any:
    from vla_agent.data.lerobot.dataset_reader import load

    dataset = load(folder / "d")
    return dataset.hash, dataset.stats, dataset.frames("front", [0, 3])


def _info(**changes: Any) -> Callable[[Path], Any]:
    """A changed value of the description; ``feature`` changes the camera's."""

    def make(folder: Path) -> None:
        root = _dataset(folder)
        info = json.loads((root / INFO).read_text())
        info["features"]["observation.images.front"] |= changes.pop("feature", {})
        (root / INFO).write_text(json.dumps(info | changes))

    return make


def _text(name: str, data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (_dataset(folder) / name).write_bytes(data)


def _sparse(name: str, size: int) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        (_dataset(folder) / name).touch()
        os.truncate(folder / "d" / name, size)

    return make


def _table(name: str, columns: Callable[[Any], dict[str, Any]], **options: Any) -> Callable[[Path], Any]:
    """A table with these columns; the others stay as they are, where they have as many rows."""

    def make(folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns(pa)), _dataset(folder) / name, compression="zstd", **options)

    return make


def _repeated(pa: Any, rows: int) -> dict[str, Any]:
    """All columns of numbers, with as many equal rows."""
    import numpy as np

    names = ("timestamp", "frame_index", "episode_index", "index", "task_index", "action")
    return {name: pa.array(np.zeros(rows, np.int64)) for name in names}


def _tables() -> dict[str, Callable[[Path], Any]]:
    return {
        "30 million equal rows": _table(DATA, lambda pa: _repeated(pa, 30_000_000), row_group_size=30_000_000),
        "15 million equal rows of six columns": _table(DATA, lambda pa: _repeated(pa, 15_000_000)),
        "one row of 50 million numbers": _table(
            DATA, lambda pa: {"action": pa.array([[0.0] * 1000]).take([0]).cast(pa.list_(pa.float64()))} | _long(pa)
        ),
        "a page of 300 MB of zeros": _table(
            DATA, lambda pa: {"action": pa.array([bytes(300_000_000)], pa.binary())}, use_dictionary=False
        ),
        "instructions of 1 MB, 3,000 times": _table(
            TASKS, lambda pa: {"task_index": list(range(3000)), "task": _same(pa, "x" * 1_000_000, 3000)}
        ),
        "a million instructions": _table(
            TASKS, lambda pa: {"task_index": list(range(1_000_000)), "task": ["x"] * 1_000_000}
        ),
        "a million episodes": _table(EPISODES, lambda pa: {"episode_index": list(range(1_000_000))}),
        "20,000 columns": _table(EPISODES, lambda pa: {f"c{k}": [0] for k in range(20_000)}),
    }


def _same(pa: Any, text: str, rows: int) -> Any:
    """A column of one text, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))


def _long(pa: Any) -> dict[str, Any]:
    import numpy as np

    values = pa.array(np.zeros(50_000_000))
    return {"observation.state": pa.ListArray.from_arrays([0, 50_000_000], values)}


def _footer(length: int) -> Callable[[Path], Any]:
    """A table that states a footer of this length, full of empty structs."""

    def make(folder: Path) -> None:
        body = b"PAR1" + b"\x15\x02\x19\xfc" + b"\x80\x80\x80\x08" + b"\x00" * (length - 8)
        (_dataset(folder) / DATA).write_bytes(body + struct.pack("<I", length) + b"PAR1")

    return make


def _lines(line: bytes, times: int) -> Callable[[Path], Any]:
    """A dataset of v2.1, whose episodes are lines of JSON."""

    def make(folder: Path) -> None:
        root = _dataset(folder)
        info = json.loads((root / INFO).read_text())
        (root / INFO).write_text(json.dumps(info | {"codebase_version": "v2.1"}))
        (root / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "go"}\n')
        (root / "meta/episodes.jsonl").write_bytes(line * times)

    return make


def _archive(members: dict[str, bytes], zeros: int = 0) -> Callable[[Path], Any]:
    """An .npz with these headers, each before a number of zeros."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
            for name, head in members.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                    member.write(head)
                    for _ in range(zeros // 10**7):
                        member.write(bytes(10**7))

    return make


def _npy(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _part(folder: Path) -> Any:
    from vla_agent.data.lerobot.episode import load_part

    return load_part(folder / "a.npz")


def _shard(folder: Path) -> Any:
    from vla_agent.training.demonstrations import load_questions

    return load_questions((str(folder),))


def cases() -> Iterator[Case]:
    """All of them, each read by `load` and the first images, or as a part file or a shard."""
    plain: dict[str, Callable[[Path], Any]] = {
        "10^12 frames": _info(total_frames=10**12),
        "images of 10^10 pixels": _info(feature={"shape": [100_000, 100_000, 3]}),
        "images of 2^60 pixels": _info(feature={"shape": [2**30, 2**30, 3]}),
        "a path with an attribute": _info(data_path="data/{chunk_index.__class__.__mro__}.parquet"),
        "a path padded to 10^10 letters": _info(data_path="data/{chunk_index:010000000000d}.parquet"),
        "a path out of the dataset": _info(data_path="../../../../etc/passwd{chunk_index}"),
        "a rate of NaN": _info(fps=float("nan")),
        "100,000 nested lists": _text(INFO, b"[" * 100_000),
        "15 MB of empty maps": _text(INFO, b'{"features": [' + b"{}," * 5_000_000 + b"{}]}"),
        "a number of a million digits": _text(INFO, b'{"fps": ' + b"9" * 1_000_000 + b"}"),
        "10 GB": _sparse(INFO, 10 * 2**30),
        "10 GB of statistics": _sparse("meta/stats.json", 10 * 2**30),
    }
    for name, make in plain.items():
        yield Case("description of a dataset", name, make, _read)
    for name, make in _tables().items():
        yield Case("parquet", name, make, _read)
    yield Case("parquet", "a footer of 200 MB", _footer(200_000_000), _read)
    yield Case("parquet", "a footer of 15 MB of structs", _footer(15_000_000), _read)
    yield Case("parquet", "a file of 100 GB", _sparse(DATA, 100 * 2**30), _read)
    yield Case("lines of JSON", "a line of 30 MB", _lines(b'{"a": "' + b"x" * 30_000_000 + b'"}\n', 1), _read)
    yield Case("lines of JSON", "10 million lines", _lines(b"{}\n", 10_000_000), _read)
    for reader, read in (("part of a collection", _part), ("shard of images", _shard)):
        names = ("head", "column/a") if reader.startswith("part") else ("images", "picture", "points")
        yield Case(
            reader, "3 GB of zeros", _archive(dict.fromkeys(names, _npy((10**9,))), 3 * 10**9 // len(names)), read
        )
        yield Case(reader, "an array of 10^15 bytes", _archive(dict.fromkeys(names, _npy((10**15,)))), read)
    yield Case("part of a collection", "20,000 arrays", _archive({f"a{k}": _npy((0,)) for k in range(20_000)}), _part)
