"""Bombs in pictures and videos, on each way by which they come: a ROS message, a folder, a dataset, an MP4 file."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.bounded_child import Case

PICTURE = "picture.png"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, before: bytes = b"", bits: int = 8) -> bytes:
    """A PNG of zeros, which takes a thousandth of its pixels."""
    packer, rows = zlib.compressobj(9), b"\0" * (1 + 3 * width * bits // 8)
    data = b"".join(packer.compress(rows) for _ in range(min(height, 20_000))) + packer.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _pillow(kind: str, side: int, **options: Any) -> bytes:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, kind, **options)
    return file.getvalue()


def _scans(data: bytes, times: int) -> bytes:
    """A progressive JPEG whose scans come again and again."""
    first = data.index(b"\xff\xda")
    return data[:first] + data[first:-2] * times + b"\xff\xd9"


def _pictures() -> dict[str, Callable[[], bytes]]:
    """The bombs; made when they are needed."""
    return {
        "0.5 MB of PNG, 169 million pixels": lambda: _png(13_000, 13_000),
        "PNG that states 2^62 pixels": lambda: _png(1, 1)[:16] + b"\x7f\xff\xff\xff" * 2 + _png(1, 1)[24:],
        "JPEG, 225 million pixels": lambda: _pillow("JPEG", 15_000),
        "JPEG with 3,000 scans": lambda: _scans(_pillow("JPEG", 4_000, progressive=True), 500),
        "PNG with 1.3 million chunks": lambda: _png(4, 4, _chunk(b"teXt", b"") * 1_300_000),
        "JPEG with 4 million segments": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 4_000_000 + _pillow("JPEG", 8)[2:],
        "JPEG with 16 MB of padding": lambda: b"\xff\xd8" + b"\xff" * 16_000_000 + _pillow("JPEG", 8)[2:],
        "GIF, 225 million pixels": lambda: _pillow("GIF", 15_000),
        "TIFF, 225 million pixels": lambda: _pillow("TIFF", 15_000, compression="tiff_deflate"),
        "WebP, 49 million pixels": lambda: _pillow("WEBP", 7_000),
        "PNG of 16 bits": lambda: _png(64, 64, bits=16),
        "a profile of 1 GB": lambda: _png(4, 4, _chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(10**9), 9))),
    }


def _message(folder: Path) -> Any:
    """As a ROS node reads it in its callback."""
    import array

    from sensor_msgs.msg import CompressedImage

    from vla_agent.ros.messages.conversions import TRANSPORTS

    message = CompressedImage(format="png", data=array.array("B", (folder / PICTURE).read_bytes()))
    return TRANSPORTS["compressed"].read(message)


def _still(folder: Path) -> Any:
    """As a camera node reads a folder of pictures; the reason why there is none is an answer."""
    from vla_agent.errors import ObservationError
    from vla_agent.robot.cameras.image_source import read_images

    picture = next(iter(read_images(str(folder), 1e6)))
    if isinstance(picture, str):
        raise ObservationError(picture, expected="a picture", found=picture, remedy="none")
    return picture


def _column(folder: Path) -> Any:
    """As one image of a dataset."""
    from vla_agent.data.lerobot.media import decode_png
    from vla_agent.errors import DatasetError
    from vla_agent.files.bounded_pictures import PictureError

    try:
        return decode_png((folder / PICTURE).read_bytes())
    except PictureError as error:  # `frame_decoding` makes the same of it
        raise DatasetError(error.what, expected=error.expected, found=error.found, remedy=error.remedy) from error


def _box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def _mp4(change: Callable[[bytes], bytes], side: int = 64) -> Callable[[Path], Any]:
    """A video of three frames with changed bytes."""

    def make(folder: Path) -> None:
        import numpy as np

        from vla_agent.data.lerobot.media import STORAGES, encode_video

        storage = STORAGES["video"]
        assert storage is not None
        data = encode_video(np.zeros((3, side, side, 3), np.uint8), 20, storage)
        (folder / "video.mp4").write_bytes(change(data))

    return make


def _with_count(box: bytes, place: int, number: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = data.index(box) + 4 + place
        return data[:at] + struct.pack(">I", number) + data[at + 4 :]

    return change


def _equal_sizes(data: bytes) -> bytes:
    """Every frame has one byte, and there are 178 million."""
    data = _with_count(b"stsz", 4, 1)(data)
    data = _with_count(b"stsz", 8, 178_000_000)(data)
    return _with_count(b"stsc", 12, 178_000_000)(data)


def _read_video(folder: Path) -> Any:
    from vla_agent.data.lerobot.media import count_frames, decode_video
    from vla_agent.errors import DatasetError

    try:
        count_frames(folder / "video.mp4")
        return [frame.shape for frame in itertools.islice(decode_video(folder / "video.mp4", 0, 3, 20), 3)]
    except (OSError, ValueError, IndexError) as error:  # `frame_decoding` makes the same of these
        raise DatasetError(
            "a video", expected="frames", found=f"{type(error).__name__}: {error}", remedy="-"
        ) from error


def _playlist(folder: Path) -> None:
    """Text that FFmpeg takes for a list of other files."""
    (folder / "video.mp4").write_text("ffconcat version 1.0\nfile /dev/zero\n")


def _videos() -> dict[str, Callable[[Path], Any]]:
    bomb = _box(
        b"cmov", _box(b"dcom", b"zlib"), _box(b"cmvd", struct.pack(">I", 2**32 - 1) + zlib.compress(bytes(10**9)))
    )
    return {
        "178 million frames of one byte": _mp4(_equal_sizes),
        "four billion frames": _mp4(_with_count(b"stsz", 8, 2**32 - 1)),
        "times for four billion frames": _mp4(_with_count(b"stts", 8, 2**32 - 1)),
        "a compressed index of 1 GB": _mp4(lambda data: _box(b"ftyp", b"isom\0\0\2\0isom") + _box(b"moov", bomb)),
        "frames of 42 million pixels": _mp4(lambda data: data, side=6_500),
        "a list of other files": _playlist,
        "a million boxes": _mp4(lambda data: data[:32] + _box(b"free") * 1_000_000 + data[32:]),
    }


def cases() -> Iterator[Case]:
    """Every picture as a ROS message, some in a folder and in a dataset; videos."""
    for name, make in _pictures().items():

        def write(folder: Path, make: Callable[[], bytes] = make) -> Any:
            return (folder / PICTURE).write_bytes(make())

        yield Case("ROS CompressedImage", name, write, _message)
        if "0.5 MB" in name or "chunks" in name:
            yield Case("folder of a camera", name, write, _still)
        if "pixels" in name and name[0] in "0J":
            yield Case("image of a dataset", name, write, _column)
    for name, make_video in _videos().items():
        yield Case("MP4 of a dataset", name, make_video, _read_video)
