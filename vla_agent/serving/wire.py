"""Messages on the wire: msgpack with numpy arrays in the form that openpi's client sends.  Nothing is ever unpickled.

An array is a map of four keys (bytes): ``__ndarray__`` true, ``data`` its bytes in C order, ``dtype`` such as ``<f4``,
``shape``.  A numpy scalar is ``__npgeneric__`` true, ``data``, ``dtype``.  Types that only Python objects or records
could fill are refused in both directions.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np

from vla_agent.errors import ServingError
from vla_agent.serving.message_bounds import check_message

ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"
KINDS = "buif"  # booleans, integers, floating point
MAX_DIMENSIONS = 8
# Of a received message.  Images and vectors are arrays, so that no valid message has long lists or maps.
LIMITS = {"max_array_len": 4096, "max_map_len": 1024, "max_str_len": 1 << 16, "max_ext_len": 0}


def pack(message: Any) -> bytes:
    """Plain data and numpy arrays -> bytes.

    Raises:
        ServingError: the message has other types.
    """
    try:
        return msgpack.packb(message, default=_pack)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad("a message cannot be sent", str(error)) from error


def unpack(data: bytes) -> Any:
    """Bytes -> plain data and numpy arrays, which are read-only views of ``data``.

    Raises:
        ServingError: no msgpack, more or longer lists than in any message, or an array whose bytes do not match its
            shape.
    """
    try:
        check_message(data)
        return msgpack.unpackb(data, object_hook=_unpack, max_bin_len=len(data), **LIMITS)
    except (msgpack.UnpackException, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _bad("a message cannot be read", f"{type(error).__name__}: {error}") from error


def _bad(what: str, found: str) -> ServingError:
    return ServingError(
        what,
        key="message",
        expected="msgpack of plain data and of arrays of numbers, as openpi_client.msgpack_numpy packs them",
        found=" ".join(found.split())[:300],
        remedy="see docs/serving.md, the protocol",
    )


def _pack(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in KINDS:
        raise TypeError(f"{type(value).__name__} {getattr(value, 'dtype', '')} is neither plain data nor numbers")
    if isinstance(value, np.generic):
        return {SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    return {ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def _unpack(value: dict[Any, Any]) -> Any:
    if ARRAY in value:
        dtype, shape, data = _dtype(value[b"dtype"]), value[b"shape"], value[b"data"]
        whole = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS
        if not whole or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"an array of shape {shape!r}")
        if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"an array of shape {shape} {dtype.str} with {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(shape)
    if SCALAR in value:
        if not isinstance(value[b"data"], (bool, int, float)):
            raise ValueError("a scalar that is no number")
        return _dtype(value[b"dtype"]).type(value[b"data"])
    return value


def _dtype(text: Any) -> np.dtype[Any]:
    """The dtype that numpy writes as ``text``; longer descriptions are refused."""
    if not isinstance(text, str) or len(text) > 4:
        raise ValueError(f"an array of {text!r}")
    dtype = np.dtype(text)
    if dtype.kind not in KINDS:
        raise ValueError(f"an array of {text!r}")
    return dtype
