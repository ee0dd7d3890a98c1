"""Columns between numpy and Arrow, in the form that LeRobot (the ``datasets`` package) uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TYPES = {"float32": pa.float32(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
_INDEX = "__index_level_0__"  # what pandas calls an unnamed index in a parquet file


def vector_array(values: np.ndarray, feature: Mapping[str, Any]) -> pa.Array:
    """(n, d) as a column of fixed-size lists; (n, 1) or (n,) as a plain column, which is LeRobot's rule."""
    flat = pa.array(np.ascontiguousarray(values).ravel(), type=_TYPES[feature["dtype"]])
    size = feature["shape"][0]
    return flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)


def vector_values(column: pa.ChunkedArray) -> np.ndarray:
    """A column as (n, d), or (n,) where it is plain: the inverse of `vector_array`; lists of lists as (n, all values).

    Raises:
        ValueError: lists of unequal length, missing values, or no numbers.
    """
    array = column.combine_chunks()
    rows = len(array)
    lists = False
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        if array.null_count:
            raise ValueError(f"{array.null_count} missing values")
        lists, lengths = True, array.value_lengths()
        if len(lengths) and pc.min_max(lengths)["min"] != pc.min_max(lengths)["max"]:
            raise ValueError("lists of unequal length")
        array = array.flatten()
    if array.null_count:
        raise ValueError(f"{array.null_count} missing values")
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)):
        raise ValueError(f"{array.type}, no numbers")
    values = array.to_numpy(zero_copy_only=False)
    return values.reshape(rows, -1) if lists else values


def png_array(pngs: list[bytes]) -> pa.Array:
    """PNG bytes (one per frame) as the Image feature of the ``datasets`` package."""
    return pa.StructArray.from_arrays(
        [pa.array(pngs, pa.binary()), pa.nulls(len(pngs), pa.string())], ["bytes", "path"]
    )


def tasks_table(tasks: list[str]) -> pa.Table:
    """The instructions as a pandas table: they are its index, ``task_index`` is its only column."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), _INDEX: pa.array(tasks, pa.string())})
    plain = {"metadata": None}
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    text = {"name": None, "field_name": _INDEX, "pandas_type": "unicode", "numpy_type": "object"}
    head = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": [_INDEX],
        "column_indexes": [head | {"metadata": {"encoding": "UTF-8"}}],
        "columns": [number | plain, text | plain],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def tasks_of(table: pa.Table) -> dict[int, str]:
    """``task_index`` -> instruction, from any LeRobot v3.0 ``tasks.parquet`` (the index may be named or not).

    Raises:
        KeyError: it has no column of instructions.
        ValueError: a number is none, or there twice.
    """
    known = [name for name in (_INDEX, "task") if name in table.column_names]
    if not known:
        raise KeyError("task")
    texts = [name for name in known if pa.types.is_string(kind := table[name].type) or pa.types.is_large_string(kind)]
    return numbered_tasks(table["task_index"].to_pylist(), table[(texts or known)[0]].to_pylist())


def numbered_tasks(numbers: list[Any], texts: list[Any]) -> dict[int, str]:
    """Number -> instruction, ascending.

    Raises:
        ValueError: a number is none or there twice, or an instruction is no text.
    """
    wrong = [n for n in numbers if not isinstance(n, int) or isinstance(n, bool)]
    wrong += [t for t in texts if not isinstance(t, str)]
    if wrong:
        raise ValueError(f"{wrong[0]!r}"[:100])
    for text in texts:
        text.encode()  # half a letter, which JSON can hold, raises
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{next(n for n in numbers if numbers.count(n) > 1)} is there twice")
    return dict(sorted(zip(numbers, texts, strict=True)))
