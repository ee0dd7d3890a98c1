"""Seeded changes of a file: of its bytes, and of its content where its format has one (JSON, YAML, tables, arrays)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator
BYTES = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64 + 1, -0.0, 0.5, 1e308, float("nan"), float("inf"),
    "", " ", "x" * 300, "../../../../evil", "/etc/hostname", "a\0b", "é中文\u202e", "{}", "1e5", "nan", "2026-01-01",
    "video", "float64", "image", "\ud800", [], [[]], {}, {"a": 1}, [None], [0, 1, 2], [1] * 1000, [3, 8, 8],
    ["a", "a"], {"": {}},
)  # fmt: skip


def changed_bytes(data: bytes, rng: Rng) -> bytes:
    """One to four changes: a bit, a byte, a number, a piece cut out, doubled, zeroed, moved; or the end cut off."""
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        if not out:
            return bytes(rng.integers(0, 256, 16, np.uint8))
        place, length = int(rng.integers(len(out))), int(rng.integers(1, 40))
        kind = int(rng.integers(8))
        if kind == 0:
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[place] = int(rng.choice(BYTES))
        elif kind == 2:
            width, order = int(rng.choice([2, 4, 8])), ("little", "big")[int(rng.integers(2))]
            number = int(NUMBERS[int(rng.integers(len(NUMBERS)))]) % 2 ** (8 * width)
            out[place : place + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
        elif kind == 3:
            del out[place : place + length]
        elif kind == 4:
            out[place:place] = out[place : place + length]
        elif kind == 5:
            out[place : place + length] = bytes(min(length, len(out) - place))
        elif kind == 6:
            other = int(rng.integers(len(out)))
            out[place : place + length] = out[other : other + length]
        else:
            del out[place:]
    return bytes(out)


def changed_tree(data: Any, rng: Rng) -> Any:
    """One to three places of plain data changed: another type, a key lost, renamed or added, a longer list."""
    made = {"": copy.deepcopy(data)}
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        places = list(_places(made))
        holder, key = places[int(rng.integers(len(places)))]
        kind = int(rng.integers(7))
        if kind <= 3 or holder is made:
            holder[key] = copy.deepcopy(WRONG[int(rng.integers(len(WRONG)))])
        elif isinstance(holder, list):
            holder.extend(copy.deepcopy([holder[key]])) if kind == 4 else holder.pop(key)
        elif kind == 4:
            del holder[key]
        elif kind == 5:
            holder[f"{key}x"] = holder.pop(key)
        else:
            holder["unknown"] = copy.deepcopy(WRONG[int(rng.integers(len(WRONG)))])
    return made[""]


def _places(tree: Any) -> Any:
    """Every holder and key in plain data."""
    keys = list(tree) if isinstance(tree, dict) else list(range(min(len(tree), 40))) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def change_file(path: Path, rng: Rng) -> None:
    """Change one file in place: its content by its ending in half of the cases, else its bytes."""
    change = CONTENT.get(path.suffix)
    data = path.read_bytes()
    made = None
    if change is not None and rng.random() < 0.6:
        made = change(path, data, rng)
    path.write_bytes(changed_bytes(data, rng) if made is None else made)


def _json(path: Path, data: bytes, rng: Rng) -> bytes:
    return _text(changed_tree(json.loads(data), rng))


def _lines(path: Path, data: bytes, rng: Rng) -> bytes:
    rows = changed_tree([json.loads(line) for line in data.splitlines()], rng)
    return b"\n".join(map(_text, rows)) if isinstance(rows, list) else _text(rows)


def _yaml(path: Path, data: bytes, rng: Rng) -> bytes:
    from ruamel.yaml import YAML

    return _text(changed_tree(json.loads(json.dumps(YAML(typ="safe").load(data), default=str)), rng))


def _text(data: Any) -> bytes:
    return json.dumps(data).encode()


def _safetensors(path: Path, data: bytes, rng: Rng) -> bytes:
    length = int.from_bytes(data[:8], "little")
    head = _text(changed_tree(json.loads(data[8 : 8 + length]), rng))
    return len(head).to_bytes(8, "little") + head + data[8 + length :]


def _table(path: Path, data: bytes, rng: Rng) -> bytes:
    """One column of a parquet file lost, of another type, with a missing value, another shape, or another number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, partitioning=None)
    name = table.column_names[int(rng.integers(table.num_columns))]
    values, kind = table[name].to_pylist(), int(rng.integers(6))
    if kind == 0:
        made = table.drop_columns([name])
    elif kind == 1:
        made = table.slice(0, int(rng.integers(len(table) + 1)))
    elif kind == 2:
        made = pa.concat_tables([table, table.slice(0, 1)])
    else:
        wrong: Any = [None, "x", 2**62, -1, [], [1.0], b"x", {"a": 1}, float("nan"), True][int(rng.integers(10))]
        values = [wrong] * len(values) if kind == 3 else [*values[:-1], wrong] if kind == 4 else values[::-1]
        try:
            column = pa.array(values)
        except (pa.ArrowException, TypeError, ValueError):
            column = pa.array(list(map(str, values)))
        made = table.set_column(table.column_names.index(name), name, column)
    sink = pa.BufferOutputStream()
    pq.write_table(made, sink)
    return sink.getvalue().to_pybytes()


def _hdf5(path: Path, data: bytes, rng: Rng) -> bytes | None:
    """One dataset of an HDF5 file with another type, shape or number of rows, or lost; or an attribute changed."""
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        name = names[int(rng.integers(len(names)))]
        length = len(file[name])
        dtype = str(rng.choice(["u1", "i8", "f2", "f8", "u2", "S3", "c8", "?"]))
        shape = [(), (0,), (length,), (length, 1), (length, 3), (length, 8, 8, 3), (length, 3, 3, 3), (3, length)]
        del file[name]
        if rng.random() < 0.85:
            file.create_dataset(name, shape[int(rng.integers(len(shape)))], dtype)
        if rng.random() < 0.3:
            file["data"].attrs["task"] = [b"\xff\xfe", 3, "", "{", [1, 2], np.nan][int(rng.integers(6))]
    return path.read_bytes()


CONTENT: dict[str, Callable[[Path, bytes, Rng], bytes | None]] = {
    ".json": _json,
    ".jsonl": _lines,
    ".yaml": _yaml,
    ".safetensors": _safetensors,
    ".parquet": _table,
    ".hdf5": _hdf5,
}
