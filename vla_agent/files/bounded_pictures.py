"""Pictures from elsewhere: format, size, depth and structure are read from the header before any pixel is allocated."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_agent.files.input_limits import PICTURE_BYTES, PICTURE_PIXELS, PICTURE_SCANS, SIDE

FORMATS = ("PNG", "JPEG")
PARTS = 16_384  # chunks of a PNG or segments before a JPEG's data; Pillow takes microseconds for each
FILL = 64  # bytes of padding before a JPEG's marker
ORIENTATION, UPRIGHT = 0x0112, 1  # of EXIF data
TURNED = (5, 6, 7, 8)  # orientations that exchange height and width
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class PictureError(ValueError):
    """A picture that cannot be used; ``expected``, ``found`` and ``remedy`` for a typed error."""

    def __init__(self, what: str, expected: str, found: str, remedy: str = "check what made the picture") -> None:
        super().__init__(f"{what}: {found}, expected {expected}")
        self.what, self.expected, self.found, self.remedy = what, expected, found, remedy


def picture_size(
    data: bytes | memoryview, pixels: int = PICTURE_PIXELS, formats: Sequence[str] = FORMATS
) -> tuple[int, int, int]:
    """(H, W, channels) of an encoded picture, from its header.

    Raises:
        PictureError: as `decode_picture`; nothing is decoded.
    """
    picture = _open(data, pixels, formats)
    height, width = picture.size if _turn(data, formats, picture) in TURNED else picture.size[::-1]
    return height, width, len(picture.getbands())


def decode_picture(
    data: bytes | memoryview,
    pixels: int = PICTURE_PIXELS,
    formats: Sequence[str] = FORMATS,
    span: tuple[float, float] | None = None,
) -> np.ndarray:
    """An encoded picture as (H, W, 3) uint8 RGB: grey is repeated, transparency dropped, upright as its EXIF data says.

    Args:
        data: the file's bytes.
        pixels: largest number of pixels.
        formats: Pillow's names of the formats that are read.
        span: of a grey picture of 16 bits: the values that become 0 and 255.

    Raises:
        PictureError: another format, too many bytes, pixels or parts, 16 bits a channel, or damaged.
    """
    picture = _open(data, pixels, formats, deep=span is not None)
    turn = _turn(data, formats, picture)
    try:
        if turn != UPRIGHT:
            from PIL import ImageOps

            picture = ImageOps.exif_transpose(picture)
        if span is not None and picture.mode.startswith("I"):
            return scaled(np.asarray(picture), span)
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many types for damaged data
        raise _damaged(data, formats, error) from error


def require_deep(data: bytes | memoryview) -> None:
    """Refuse an encoded picture of 8 bits a channel, which a range of depth would leave as it is.

    Raises:
        PictureError: it is no PNG of 16 bits.
    """
    start = bytes(data[:25])
    if not start.startswith(PNG) or start[24:] != b"\x10":
        remedy = "leave range out in the mapping file, or name the depth image"
        raise PictureError("a picture has no depth", "16 bits a channel, as the camera's range says", "8 bits", remedy)


def scaled(values: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Grey values (H, W) as (H, W, 3) uint8: ``span`` becomes 0 to 255, and values outside of it the nearer end."""
    low, high = span
    grey = np.rint(np.clip((values.astype(np.float32) - low) / (high - low), 0.0, 1.0) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _turn(data: bytes | memoryview, formats: Sequence[str], picture: Any) -> int:
    """The orientation that a camera or a phone wrote beside the pixels, 1 to 8; `UPRIGHT` where it wrote none."""
    if picture.format == "PNG" and "exif" not in picture.info:  # Pillow would decode it to look behind the pixels
        return UPRIGHT
    try:
        return int(picture.getexif().get(ORIENTATION, UPRIGHT))
    except Exception as error:  # Pillow's parser raises many types for damaged data
        raise _damaged(data, formats, error) from error


def _open(data: bytes | memoryview, pixels: int, formats: Sequence[str], deep: bool = False) -> Any:
    """Pillow's picture with nothing decoded, after every bound has been checked; ``deep``: grey of 16 bits, too."""
    from PIL import Image

    if len(data) > PICTURE_BYTES:
        raise PictureError("a picture is too large", f"at most {PICTURE_BYTES:,} bytes", f"{len(data):,} bytes")
    start = bytes(data[:29])
    if start.startswith(PNG):
        _check_png(data, start, deep)
    elif start.startswith(JPEG):
        _check_jpeg(data)
    try:
        picture = Image.open(io.BytesIO(data), formats=tuple(formats))
    except Image.DecompressionBombError as error:
        raise PictureError("a picture is too large", f"at most {pixels:,} pixels", "more pixels") from error
    except Exception as error:  # Pillow's plugins raise many types for damaged headers
        raise _damaged(data, formats, error) from error
    width, height = picture.size
    if width * height > pixels or max(width, height) > SIDE:
        expected = f"at most {pixels:,} pixels, {SIDE:,} along a side"
        remedy = "use smaller pictures: a policy sees far fewer pixels"
        raise PictureError("a picture is too large", expected, f"{width} x {height}", remedy)
    if picture.mode.startswith(("I", "F")) and not (deep and picture.mode.startswith("I")):
        raise _deep(picture.mode)
    if start.startswith(JPEG) and (scans := bytes(data).count(b"\xff\xda")) * width * height > PICTURE_SCANS:
        raise PictureError("a picture is too large", f"at most {PICTURE_SCANS:,} pixels times scans", f"{scans} scans")
    return picture


def _check_png(data: bytes | memoryview, start: bytes, deep: bool) -> None:
    """Bits a channel (16 where ``deep`` and grey alone), and the number of chunks."""
    if start[12:16] == b"IHDR" and start[24:25] == b"\x10" and not (deep and start[25:26] == b"\0"):
        raise _deep("PNG of 16 bits")
    place = len(PNG)
    for _ in range(PARTS):
        if place + 8 > len(data):
            return
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    raise PictureError("a picture has too many parts", f"at most {PARTS:,} chunks", "more")


def _check_jpeg(data: bytes | memoryview) -> None:
    """The number of segments, and of bytes between them, before the data; Pillow reads these one by one."""
    place = 2
    for _ in range(PARTS):
        end = min(place + FILL, len(data))
        while place < end and data[place] != 0xFF:  # no marker: Pillow gives up here
            return
        while place < end and data[place] == 0xFF:
            place += 1
        if place >= len(data) or data[place] in (0xDA, 0xD9):
            return
        if place == end:
            raise PictureError("a picture has too many parts", f"at most {FILL} bytes of padding", "more")
        alone = data[place] == 0 or 0xD0 <= data[place] <= 0xD8
        place += 1 if alone else 1 + max(2, int.from_bytes(data[place + 1 : place + 3], "big"))
    raise PictureError("a picture has too many parts", f"at most {PARTS:,} segments", "more")


def _deep(found: str) -> PictureError:
    remedy = "give its range in the mapping file (range: [low, high]), or convert it to 8 bits"
    return PictureError("a picture has more than 8 bits a channel", "8 bits a channel", found, remedy)


def _damaged(data: bytes | memoryview, formats: Sequence[str], error: Exception) -> PictureError:
    found = f"{len(data)} bytes: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return PictureError("a picture cannot be decoded", " or ".join(formats), found)
