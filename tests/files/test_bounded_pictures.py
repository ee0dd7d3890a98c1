"""Pictures from elsewhere: size, depth and structure are checked before a pixel is allocated."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from vla_agent.files import bounded_pictures
from vla_agent.files.bounded_pictures import PictureError, decode_picture, picture_size

PIXELS = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def png(width, height, data=b"", bits=8, colour=2, before=b""):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + chunks[0] + before + chunks[1] + chunks[2]


def test_rgb_grey_and_transparent_pictures():
    assert (decode_picture(encoded(PIXELS)) == PIXELS).all()
    grey = decode_picture(encoded(PIXELS[..., 0]))
    assert (grey == PIXELS[..., :1]).all() and grey.shape == (6, 4, 3)
    alpha = np.concatenate([PIXELS, np.full((6, 4, 1), 7, np.uint8)], axis=2)
    assert (decode_picture(encoded(alpha)) == PIXELS).all()
    assert picture_size(encoded(alpha)) == (6, 4, 4)
    assert decode_picture(encoded(PIXELS, "JPEG")).shape == (6, 4, 3)


def test_pixels_at_the_limit_and_one_row_more():
    assert decode_picture(encoded(PIXELS), pixels=24).shape == (6, 4, 3)
    with pytest.raises(PictureError, match="at most 23 pixels") as refused:
        decode_picture(encoded(PIXELS), pixels=23)
    assert refused.value.found == "4 x 6"


def test_a_side_at_the_limit_and_one_pixel_more(monkeypatch):
    monkeypatch.setattr(bounded_pictures, "SIDE", 6)
    decode_picture(encoded(PIXELS))
    monkeypatch.setattr(bounded_pictures, "SIDE", 5)
    with pytest.raises(PictureError, match="5 along a side"):
        decode_picture(encoded(PIXELS))


@pytest.mark.parametrize("size", [(13_000, 13_000), (40_000, 40_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_it_is_allocated(size):
    bomb = png(*size, bytes(10**6))
    tracemalloc.start()
    with pytest.raises(PictureError):
        decode_picture(bomb)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_bytes_at_the_limit_and_one_more(monkeypatch):
    data = encoded(PIXELS)
    monkeypatch.setattr(bounded_pictures, "PICTURE_BYTES", len(data))
    decode_picture(data)
    monkeypatch.setattr(bounded_pictures, "PICTURE_BYTES", len(data) - 1)
    with pytest.raises(PictureError, match="too large"):
        decode_picture(data)


@pytest.mark.parametrize(
    "data",
    [
        encoded(np.full((4, 4), 1000, np.uint16)),
        png(2, 2, bytes(2 * 13), bits=16),
    ],
)
def test_more_than_8_bits_a_channel_are_refused(data):
    with pytest.raises(PictureError, match="8 bits") as refused:
        decode_picture(data)
    assert "range" in refused.value.remedy


def test_a_grey_picture_of_16_bits_is_read_with_its_range():
    values = np.array([[0, 300], [775, 1250], [2000, 65535]], np.uint16)
    found = decode_picture(encoded(values), span=(300, 1250))
    assert found[..., 0].tolist() == [[0, 0], [128, 255], [255, 255]] and found.shape == (3, 2, 3)
    assert (decode_picture(encoded(PIXELS), span=(300, 1250)) == PIXELS).all()
    with pytest.raises(PictureError, match="8 bits"):
        decode_picture(png(2, 2, bytes(2 * 13), bits=16), span=(0, 1))  # colour


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(kind):
    with pytest.raises(PictureError, match="PNG or JPEG"):
        decode_picture(encoded(PIXELS, kind))
    if kind == "BMP":
        assert (decode_picture(encoded(PIXELS, kind), formats=("PNG", "BMP")) == PIXELS).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("part", [0, 3, 10, 30, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind, part):
    data = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), kind)
    with pytest.raises(PictureError):
        decode_picture(data[: part if isinstance(part, int) else int(part * len(data))])


def test_chunks_of_a_png(monkeypatch):
    def empty(n):
        return (struct.pack(">I", 0) + b"teXt" + struct.pack(">I", zlib.crc32(b"teXt"))) * n

    monkeypatch.setattr(bounded_pictures, "PARTS", 10)
    data = bytes(2 * (1 + 2 * 3))
    decode_picture(png(2, 2, data, before=empty(6)))  # and IHDR, IDAT, IEND
    with pytest.raises(PictureError, match="at most 10 chunks"):
        decode_picture(png(2, 2, data, before=empty(7)))


def test_segments_of_a_jpeg(monkeypatch):
    data = encoded(PIXELS, "JPEG")
    monkeypatch.setattr(bounded_pictures, "PARTS", 20)
    comment = b"\xff\xfe\x00\x02"
    decode_picture(data[:2] + comment * 5 + data[2:])
    with pytest.raises(PictureError, match="at most 20 segments"):
        decode_picture(data[:2] + comment * 20 + data[2:])
    with pytest.raises(PictureError, match="at most 20 segments"):
        decode_picture(data[:2] + b"\xff\x00" * 20 + data[2:])


def test_padding_of_a_jpeg(monkeypatch):
    data = encoded(PIXELS, "JPEG")
    decode_picture(data[:2] + b"\xff" * (bounded_pictures.FILL - 2) + data[2:])
    with pytest.raises(PictureError, match="bytes of padding"):
        decode_picture(data[:2] + b"\xff" * bounded_pictures.FILL + data[2:])


def test_scans_of_a_progressive_jpeg(monkeypatch):
    data = encoded(PIXELS, "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    assert scans > 3
    monkeypatch.setattr(bounded_pictures, "PICTURE_SCANS", scans * 24)
    decode_picture(data)
    monkeypatch.setattr(bounded_pictures, "PICTURE_SCANS", scans * 24 - 1)
    with pytest.raises(PictureError, match="scans"):
        decode_picture(data)
