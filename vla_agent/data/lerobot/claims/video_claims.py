"""MP4 files within bounds: the boxes that state sizes are read before FFmpeg builds its index from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vla_agent.errors import DatasetError
from vla_agent.files.bounded_reading import open_regular
from vla_agent.files.input_limits import MIB, VIDEO_FRAMES

FILE_BYTES = 64 * 2**30  # of one video; only its index is read at once
INDEX_BYTES = 256 * MIB  # the box moov; 4 bytes a frame in each of a few tables
BOXES = 10_000
FOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf")
# Tables: place of the number of entries in the box, bytes of one entry.
TABLES = {b"stts": (4, 8), b"ctts": (4, 8), b"stsc": (4, 12), b"stss": (4, 4), b"stco": (4, 4), b"co64": (4, 8)}
TABLES |= {b"elst": (4, 12), b"trun": (4, 0), b"sbgp": (8, 8)}
REPEATED = (b"stts", b"ctts")  # each entry stands for a number of frames
SIZES, COMPRESSED = b"stsz", b"cmov"


def check_video(path: Path) -> None:
    """Check the claims of an MP4: number of boxes and frames, and tables that lie within their boxes.

    Raises:
        OSError: it is missing, or may not be read.
        DatasetError: no MP4, or a claim that the file cannot keep.
    """
    with open_regular(path, DatasetError, FILE_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        if size < 16 or file.read(8)[4:] != b"ftyp":
            raise _wrong(path, "format", "an MP4 file", f"{size:,} bytes without the box ftyp")
        frames = sum(_frames(path, file, kind, start, stop) for kind, start, stop in _boxes(path, file, size))
        if frames > min(VIDEO_FRAMES, size):  # every frame has a byte at least
            raise _wrong(path, "stsz", f"at most {min(VIDEO_FRAMES, size):,} frames in {size:,} bytes", f"{frames:,}")


def _boxes(path: Path, file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of the content of every box, those inside of others too."""
    rest, count = [(0, size)], 0
    while rest:
        place, end = rest.pop()
        while place + 8 <= end:
            count += 1
            file.seek(place)
            head = file.read(16)
            length, kind, start = int.from_bytes(head[:4], "big"), head[4:8], place + 8
            if length == 1:
                length, start = int.from_bytes(head[8:16], "big"), place + 16
            elif length == 0:
                length = end - place
            stop = place + length
            if count > BOXES or stop < start or stop > end and kind != b"mdat":
                raise _wrong(path, repr(kind), f"at most {BOXES:,} boxes, each inside of its own", f"{length:,} bytes")
            if kind == COMPRESSED:
                raise _wrong(path, "cmov", "an index that is not compressed", f"{length:,} bytes")
            if kind == b"moov" and length > INDEX_BYTES:
                raise _wrong(path, "moov", f"an index of at most {INDEX_BYTES:,} bytes", f"{length:,} bytes")
            if kind in FOLDERS:
                rest.append((start, stop))
            else:
                yield kind, start, min(stop, end)
            place = stop


def _frames(path: Path, file: BinaryIO, kind: bytes, start: int, stop: int) -> int:
    """Frames that a table states, after a check that its entries lie in its box."""
    if kind not in TABLES and kind != SIZES:
        return 0
    file.seek(start)
    head = file.read(12)
    if kind == SIZES:
        every, count, room = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big"), stop - start - 12
        if not every and 4 * count > room:
            raise _wrong(path, "stsz", f"{count:,} entries of 4 bytes", f"{max(room, 0):,} bytes")
        return count
    place, entry = TABLES[kind]
    count, room = int.from_bytes(head[place : place + 4], "big"), stop - start - place - 4
    if entry and entry * count > room:
        raise _wrong(path, kind.decode(), f"{count:,} entries of {entry} bytes", f"{max(room, 0):,} bytes")
    if kind in REPEATED:
        file.seek(start + place + 4)
        repeated = int(np.frombuffer(file.read(entry * count), ">u4")[::2].sum(dtype=np.uint64))
        if repeated > os.fstat(file.fileno()).st_size:
            raise _wrong(path, kind.decode(), "as many frames as the file can hold", f"{repeated:,} frames")
    return count if kind == b"trun" else 0


def _wrong(path: Path, key: str, expected: str, found: str) -> DatasetError:
    return DatasetError(
        "a video is damaged, or claims more than it holds",
        file=path,
        key=key,
        expected=expected,
        found=found,
        remedy="get the dataset again, or write the video again",
    )
