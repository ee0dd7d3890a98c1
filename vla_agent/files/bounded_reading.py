"""One bounded reader for everything that comes from elsewhere: size, kind of file, depth and finite numbers are checked
before anything large is allocated.

Every function takes the typed error of its room, and raises it with what was expected, found and the remedy where a
bound is exceeded.  A missing file is an `OSError`, as with `open`; text that is not JSON a `ValueError`.

`read_bytes`, `read_text`, `read_json`, `read_lines` and `raw_lines` are here; YAML is in `bounded_yaml`, arrays (.npz)
in `bounded_arrays`, pictures in `bounded_pictures`; the limits with their reasons in `input_limits`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from itertools import accumulate
from os import PathLike
from typing import Any, BinaryIO

from vla_agent.errors import VlaAgentError
from vla_agent.files.input_limits import DEPTH, INTEGER_BITS, JSON_BYTES, JSON_PARTS, LINE_BYTES, LINES_BYTES

File = str | PathLike[str]
KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}
_STRING = re.compile(rb'"[^"]*"?')
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(c for c in range(256) if c not in _STEPS)


def open_regular(file: File, error: type[VlaAgentError], most: int, links: bool = True) -> BinaryIO:
    """Open a regular file of at most ``most`` bytes; a FIFO, socket or device is never waited for.

    Args:
        file: its path.
        error: raised for everything but a missing or forbidden file.
        most: largest size, bytes.
        links: whether the path itself may be a symbolic link.

    Raises:
        OSError: it is missing, a folder, or may not be read.
        VlaAgentError: ``error``: it is no regular file, a link where none may be, or too large.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
    require_regular(file, error, most, links)  # before opening: opening a device may already act
    number = os.open(file, flags | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
    try:
        _require_kind(file, os.fstat(number), error, most)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def require_regular(file: File, error: type[VlaAgentError], most: int, links: bool = True) -> os.stat_result:
    """Its status, where it is a regular file of at most ``most`` bytes; for readers that take a path.

    Raises:
        OSError, VlaAgentError: as `open_regular`.
    """
    status = os.stat(file) if links else os.lstat(file)
    _require_kind(file, status, error, most)
    return status


def _require_kind(file: File, status: os.stat_result, error: type[VlaAgentError], most: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if not stat.S_ISREG(status.st_mode):
        raise error(
            "a file is not a regular file",
            file=file,
            key="kind",
            expected="a regular file",
            found=KINDS.get(stat.S_IFMT(status.st_mode), "something else"),
            remedy="put a copy of the file itself there",
        )
    if status.st_size > most:
        raise too_large(file, error, most, f"{status.st_size:,} bytes")


def too_large(file: File, error: type[VlaAgentError], most: int, found: str) -> VlaAgentError:
    """The error for a file of more than ``most`` bytes."""
    return error(
        "a file is larger than any that is expected here",
        file=file,
        key="size",
        expected=f"at most {most:,} bytes",
        found=found,
        remedy="check that it is the right file; for a larger one raise the limit in vla_agent/files/input_limits.py",
    )


def read_bytes(file: File, error: type[VlaAgentError], most: int = JSON_BYTES, links: bool = True) -> bytes:
    """The content of a regular file of at most ``most`` bytes; see `open_regular`."""
    with open_regular(file, error, most, links) as opened:
        data = opened.read(most + 1)  # a file may grow, and those of /proc state no size
    if len(data) > most:
        raise too_large(file, error, most, f"more than {most:,} bytes")
    return data


def read_text(file: File, error: type[VlaAgentError], most: int = JSON_BYTES, links: bool = True) -> str:
    """The content of a text file in UTF-8.

    Raises:
        OSError, VlaAgentError: as `open_regular`, or it is not UTF-8.
    """
    return as_text(read_bytes(file, error, most, links), file, error)


def as_text(data: bytes, file: File, error: type[VlaAgentError]) -> str:
    """Bytes as UTF-8 text; ``file``: where they come from."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as reason:
        raise error(
            "a file is not text",
            file=file,
            key="encoding",
            expected="text in UTF-8",
            found=f"not UTF-8 text: {reason.reason} at byte {reason.start}",
            remedy="check that it is the right file, or save it as UTF-8",
        ) from reason


def read_json(
    file: File,
    error: type[VlaAgentError],
    most: int = JSON_BYTES,
    depth: int = DEPTH,
    finite: bool = True,
) -> Any:
    """The content of a JSON file.

    Raises:
        OSError, ValueError, VlaAgentError: as `read_bytes` and `parse_json`.
    """
    return parse_json(read_bytes(file, error, most), file, error, depth, finite)


def parse_json(
    data: bytes | str, source: File, error: type[VlaAgentError], depth: int = DEPTH, finite: bool = True
) -> Any:
    """JSON from bytes whose size has been checked; every key of a map occurs once.

    Args:
        data: UTF-8.
        source: the file or peer, for the error.
        error: raised where a bound is exceeded.
        depth: of nested maps and lists.
        finite: refuse NaN, infinity and numbers that become infinite.

    Raises:
        ValueError: it is not JSON.
        VlaAgentError: ``error``: nested too deeply, too many maps and lists, a key twice, a number that is not finite,
            or a whole number of more than 64 bits.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    found, parts = _nesting(raw)
    if found > depth:
        raise too_deep(source, error, depth, f"{found} levels")
    try:
        if parts > JSON_PARTS:
            raise _Refused("maps and lists", f"at most {JSON_PARTS:,}", f"{parts:,}")
        return _DECODERS[finite].decode(raw.decode("utf-8"))
    except _Refused as reason:
        key, expected, text = reason.args
        raise error(
            "JSON holds what is not read here",
            file=source,
            key=key,
            expected=expected,
            found=text,
            remedy="check that it is the right file, and write it again with the program that made it",
        ) from reason


class _Refused(Exception):
    """Key, expected and found of a value that is not read."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(twice[:100], "each key once", "the key twice in one map")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("number", "finite numbers", text[:40])
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**INTEGER_BITS:
        raise _Refused("number", f"whole numbers of at most {INTEGER_BITS} bits", f"{len(text)} digits")
    return int(text)


def _constant(text: str) -> float:
    """NaN, Infinity, -Infinity."""
    return _finite(text)


_DECODERS = {
    True: json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant, parse_int=_whole),
    False: json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole),
}


def json_depth(data: bytes) -> int:
    """The deepest nesting of maps and lists in JSON, without parsing it: one pass over the bytes for each step."""
    return _nesting(data)[0]


def _nesting(data: bytes) -> tuple[int, int]:
    """The deepest nesting, and the number of maps and lists."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = _STRING.sub(b"", plain).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0), len(brackets) // 2


def too_deep(source: File, error: type[VlaAgentError], depth: int, found: str) -> VlaAgentError:
    """The error for maps and lists nested more deeply than ``depth``."""
    return error(
        "a file is nested too deeply",
        file=source,
        key="depth",
        expected=f"at most {depth} levels of maps and lists",
        found=found,
        remedy="check that it is the right file",
    )


def read_lines(
    file: File, error: type[VlaAgentError], most: int = LINES_BYTES, longest: int = LINE_BYTES
) -> Iterator[tuple[int, Any]]:
    """Number (from 1) and content of each line of a JSON lines file; empty lines are skipped.

    Raises:
        OSError, ValueError, VlaAgentError: as `read_json`; a line is longer than ``longest`` bytes.
    """
    for number, line in raw_lines(file, error, most, longest):
        if line.strip():
            yield number, parse_json(line, f"{file}:{number}", error)


def raw_lines(
    file: File, error: type[VlaAgentError], most: int = LINES_BYTES, longest: int = LINE_BYTES
) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line, with its end; the last one may have none.

    Raises:
        OSError, VlaAgentError: as `open_regular`; a line is longer than ``longest`` bytes.
    """
    with open_regular(file, error, most) as opened:
        number, total = 0, 0
        while line := opened.readline(longest + 1):
            number, total = number + 1, total + len(line)
            if len(line) > longest or total > most:
                limit = longest if len(line) > longest else most
                raise too_large(f"{file}:{number}", error, limit, f"more than {limit:,} bytes")
            yield number, line
