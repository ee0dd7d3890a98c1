"""Arrays from elsewhere (.npz): what the archive and each header claim is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.lib import format as npy

from vla_agent.errors import VlaAgentError
from vla_agent.files.bounded_reading import File, open_regular, too_large
from vla_agent.files.input_limits import ARRAYS, ARRAYS_BYTES

KINDS = "biufcSU"  # booleans, numbers, text of fixed size
DIMENSIONS = 8
BLOCK = 2**20  # bytes that are read at a time
ENTRY = 160  # bytes of one array's entry in the archive's directory: 66 and its name


class _Archive(io.BufferedReader):
    """A file whose directory, which `zipfile` reads in one piece, has at most ``longest`` bytes."""

    longest = BLOCK

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.longest:
            raise zipfile.BadZipFile(f"a directory of {size:,} bytes, expected at most {self.longest:,}")
        return super().read(size)


def read_arrays(
    file: File,
    error: type[VlaAgentError],
    most: int = ARRAYS_BYTES,
    names: Collection[str] | None = None,
    count: int = ARRAYS,
) -> dict[str, np.ndarray]:
    """Every array of an .npz file, or those with these ``names``; nothing is unpickled.

    Raises:
        OSError: it is missing, a folder, or may not be read.
        ValueError: it is damaged, or an array's header does not fit its bytes.
        KeyError: it lacks one of ``names``.
        VlaAgentError: ``error``: no regular file, more than ``most`` bytes of arrays, or more than ``count`` arrays.
    """
    with open_regular(file, error, most) as opened:
        try:
            stream = _Archive(io.FileIO(opened.fileno(), closefd=False))
            stream.longest = max(BLOCK, ENTRY * count)
            with zipfile.ZipFile(stream) as archive:
                members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
                if len(members) > count:
                    raise too_large(file, error, most, f"{len(members):,} arrays, at most {count:,}")
                chosen = members if names is None else {name: members[name] for name in names}
                if (size := sum(m.file_size for m in chosen.values())) > most:
                    raise too_large(file, error, most, f"{size:,} bytes uncompressed")
                return {name: _read(archive, member) for name, member in chosen.items()}
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as reason:
            raise ValueError(f"{type(reason).__name__}: {reason}") from reason


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array; `zipfile` gives no more bytes than the member's stated size."""
    with archive.open(member) as stored:
        version = npy.read_magic(stored)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename}: a header of version {version}")
        read: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stored)
        count = math.prod(shape)
        if dtype.kind not in KINDS or len(shape) > DIMENSIONS:
            raise ValueError(f"{member.filename}: an array of {dtype} with {len(shape)} dimensions")
        if min(shape, default=0) < 0 or count * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename}: {shape} {dtype} in {member.file_size:,} bytes")
        array = np.empty(count, dtype)
        flat = array.view(np.uint8) if count and dtype.itemsize else np.empty(0, np.uint8)
        for start in range(0, len(flat), BLOCK):
            part = stored.read(min(BLOCK, len(flat) - start))
            flat[start : start + len(part)] = np.frombuffer(part, np.uint8)
            if len(part) < min(BLOCK, len(flat) - start):
                raise ValueError(f"{member.filename}: {start + len(part):,} of {len(flat):,} bytes")
    return array.reshape(shape, order="F" if fortran else "C")
