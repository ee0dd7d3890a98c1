"""Encodings of cameras against formulas of their own, sizes that are bounded, depth that is refused, topics' views."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import convolve

from vla_agent.errors import ObservationError
from vla_agent.robot.cameras import image_messages
from vla_agent.robot.cameras.encodings import BAYER, CHANNELS, COLOUR, YUV420, YUV422, YUV444
from vla_agent.robot.cameras.image_messages import compressed_pixels, image_pixels
from vla_agent.robot.cameras.topic_view import TopicView
from vla_agent.robot.description import CameraSpec

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (4, 6, 3), np.uint8)
ALPHA = np.full((4, 6, 1), 9, np.uint8)
BGRA = np.concatenate([RGB[..., ::-1], ALPHA], axis=2)


def message(rows: np.ndarray, encoding: str, size: tuple[int, int] | None = None, padding: int = 0, **changes):
    """An Image of ``size`` (H, W) with these rows; ``padding``: bytes after each row."""
    height, width = size or rows.shape[:2]
    flat = rows.reshape(len(rows), -1)
    flat = np.concatenate([flat, np.full((len(flat), padding), 77, flat.dtype)], axis=1)
    plain = {"height": height, "width": width, "step": flat[0].nbytes, "encoding": encoding, "is_bigendian": 0}
    return SimpleNamespace(**plain | {"data": flat.tobytes()} | changes)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big", [0, 1])
def test_colours_in_any_order_with_padding(padding, big):
    cases = {
        "rgb8": RGB,
        "bgr8": RGB[..., ::-1],
        "8UC3": RGB[..., ::-1],
        "rgba8": np.concatenate([RGB, ALPHA], axis=2),
        "bgra8": BGRA,
        "8UC4": BGRA,
        "mono8": RGB[..., 0],
        "8UC1": RGB[..., 0],
    }
    assert set(cases) == set(CHANNELS)
    for encoding, pixels in cases.items():
        seen = image_pixels(message(pixels, encoding, padding=padding, is_bigendian=big))
        assert (seen == (RGB[..., :1] if pixels.ndim == 2 else RGB)).all(), encoding
        assert seen.shape == RGB.shape and seen.dtype == np.uint8


# YUV: ITU-R BT.601, luma 16 to 235, colours 16 to 240 around 128


def bt601(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB of floats from Y, U and V (H, W), by the standard's constants."""
    luma, blue, red = (y - 16.0) / 219, (u - 128.0) / 224, (v - 128.0) / 224
    r, b = luma + 2 * (1 - 0.299) * red, luma + 2 * (1 - 0.114) * blue
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255)


Y = RNG.integers(16, 236, (8, 12), np.uint8)
U, V = (RNG.integers(16, 241, (8, 6), np.uint8) for _ in range(2))


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", YUV422)
def test_yuv_with_colours_of_pairs(encoding, padding):
    packed = np.empty((8, 12, 2), np.uint8)
    luma, colour = (1, 0) if YUV422[encoding].startswith("uyvy") else (0, 1)
    packed[..., luma], packed[:, ::2, colour], packed[:, 1::2, colour] = Y, U, V
    seen = image_pixels(message(packed, encoding, (8, 12), padding))
    assert np.abs(seen - bt601(Y, np.repeat(U, 2, 1), np.repeat(V, 2, 1))).max() <= 3


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", YUV420)
def test_yuv_with_colours_of_squares(encoding, padding):
    order = [U[:4], V[:4]] if encoding == "nv12" else [V[:4], U[:4]]
    rows = np.concatenate([Y, np.stack(order, axis=-1).reshape(4, 12)])
    seen = image_pixels(message(rows, encoding, (8, 12), padding))
    whole = (np.repeat(np.repeat(part[:4], 2, 0), 2, 1) for part in (U, V))
    assert np.abs(seen - bt601(Y, *whole)).max() <= 3


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", YUV444)
def test_yuv_with_a_colour_of_each_pixel(encoding, padding):
    u, v = np.tile(U, 2), np.tile(V, 2)[::-1]
    rows = np.concatenate([Y, np.stack([u, v], axis=-1).reshape(16, 12)])
    assert np.abs(image_pixels(message(rows, encoding, (8, 12), padding)) - bt601(Y, u, v)).max() <= 3


def test_known_colours_of_yuv():
    """Red, grey and white as every table of BT.601 has them."""
    for (y, u, v), rgb in {
        (81, 90, 240): (255, 0, 0),
        (126, 128, 128): (128,) * 3,
        (235, 128, 128): (255,) * 3,
    }.items():
        packed = np.tile(np.array([y, u, y, v], np.uint8), (2, 1))
        assert np.abs(image_pixels(message(packed, "yuyv", (2, 2))).astype(int) - rgb).max() <= 3


@pytest.mark.parametrize(("encoding", "size"), [("yuyv", (4, 5)), ("nv12", (5, 4)), ("nv12", (4, 5))])
def test_yuv_of_an_odd_size_is_refused(encoding, size):
    height, width = size
    rows = np.zeros((height * 3 // 2 if encoding == "nv12" else height, 2 * width), np.uint8)
    with pytest.raises(ObservationError, match="odd size(.|\n)*even"):
        image_pixels(message(rows, encoding, size))


# Bayer


def bilinear(mosaic: np.ndarray, encoding: str) -> np.ndarray:
    """(H, W, 3) floats: each colour's plane, convolved with the triangle of bilinear interpolation."""
    letters = np.array(list(encoding.removeprefix("bayer_")[:4])).reshape(2, 2)
    tiled = np.tile(letters, (mosaic.shape[0] // 2 + 1, mosaic.shape[1] // 2 + 1))[: mosaic.shape[0], : mosaic.shape[1]]
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    planes = [
        convolve(mosaic * (tiled == c).astype(float), cross if c == "g" else square, mode="mirror") for c in "rgb"
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("size", [(6, 8), (7, 9), (2, 2)])
@pytest.mark.parametrize("encoding", BAYER)
def test_a_bayer_mosaic_is_interpolated(encoding, size, padding):
    mosaic = RNG.integers(0, 256, size, np.uint8)
    seen = image_pixels(message(mosaic, encoding, padding=padding))
    assert np.abs(seen - bilinear(mosaic, encoding)).max() <= 0.5, "rounded, to the borders"


def test_a_single_row_of_a_mosaic_is_grey():
    assert image_pixels(message(np.full((1, 4), 9, np.uint8), "bayer_rggb8")).tolist() == [[[9] * 3] * 4]


# What is refused


@pytest.mark.parametrize(("recorded", "words"), [(False, "robot file"), (True, "range: .low, high.")])
@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "mono16", "64FC1"])
def test_depth_is_refused_with_the_reason_and_a_remedy_that_fits(encoding, recorded, words):
    with pytest.raises(ObservationError, match=f"no colours(.|\n)*{encoding}: depth(.|\n)*{words}"):
        image_pixels(message(RGB, encoding), recorded=recorded)


@pytest.mark.parametrize("kind", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "32FC1; compressedDepth rvl"])
def test_compressed_depth_is_refused(kind):
    with pytest.raises(ObservationError, match="no colours(.|\n)*depth(.|\n)*robot file"):
        compressed_pixels(SimpleNamespace(format=kind, data=encoded(RGB, "PNG")))


@pytest.mark.parametrize("encoding", ["rgb16", "bayer_rggb16", "8UC2", "", "x" * 10**6])
def test_other_encodings_are_refused_in_few_words(encoding):
    for recorded, words in ((False, "driver"), (True, "mapping file")):
        with pytest.raises(ObservationError, match=f"unsupported encoding(.|\n)*{words}") as refused:
            image_pixels(message(RGB, encoding), recorded=recorded)
        assert len(str(refused.value)) < 1000


def test_a_recording_is_not_told_to_publish_otherwise():
    for encoding, changes in (("rgb16", {}), ("32FC1", {}), ("rgb8", {"height": 5}), ("rgb8", {"height": 10**7})):
        with pytest.raises(ObservationError) as refused:
            image_pixels(message(RGB, encoding, **changes), recorded=True)
        assert not {"publish", "driver"} & set(str(refused.value.remedy).split())


@pytest.mark.parametrize(
    "changes", [{"step": 17}, {"height": 5}, {"width": 7}, {"height": 0, "data": b""}, {"data": b""}]
)
def test_rows_that_do_not_fit_the_size_are_refused(changes):
    with pytest.raises(ObservationError, match="incomplete"):
        image_pixels(message(RGB, "rgb8", **changes))


def test_each_encoding_is_refused_with_a_byte_too_few_or_too_many():
    for encoding in COLOUR:
        height = 6 if encoding in YUV420 else 12 if encoding in YUV444 else 4
        rows = np.zeros((height, 6 * CHANNELS.get(encoding, (1,))[0]), np.uint8)
        rows = np.tile(rows, 2) if encoding in YUV422 else rows
        good = message(rows, encoding, (4, 6))
        assert image_pixels(good).shape == (4, 6, 3)
        for data in (good.data[:-1], good.data + b"\0"):
            with pytest.raises(ObservationError, match="incomplete"):
                image_pixels(message(rows, encoding, (4, 6), data=data))


def test_images_of_16_bits_are_read_with_their_range_alone():
    for kind, big in (("<u2", 0), (">u2", 1)):
        values = np.array([[0, 300, 775], [1250, 2000, 65535]], kind)
        given = message(values, "16UC1", is_bigendian=big, data=values.tobytes())
        assert image_pixels(given, (300, 1250))[..., 2].tolist() == [[0, 0, 128], [255, 255, 255]]
        with pytest.raises(ObservationError, match="range"):
            image_pixels(given, recorded=True)
        with pytest.raises(ObservationError, match="incomplete"):
            image_pixels(message(values, "16UC1", step=5, is_bigendian=big), (300, 1250))


def test_pixels_of_a_camera_at_the_limit_and_one_more(monkeypatch):
    monkeypatch.setattr(image_messages, "CAMERA_PIXELS", 24)
    image_pixels(message(RGB, "rgb8"))
    monkeypatch.setattr(image_messages, "CAMERA_PIXELS", 23)
    with pytest.raises(ObservationError, match="at most 23 pixels"):
        image_pixels(message(RGB, "rgb8"))


# Compressed


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["png", "rgb8; png compressed bgr8", "bayer_rggb8; png compressed bgr8", ""])
def test_a_png_is_read_whatever_its_original(kind):
    assert (compressed_pixels(SimpleNamespace(format=kind, data=encoded(RGB, "PNG"))) == RGB).all()


@pytest.mark.parametrize("kind", ["bayer_rggb8; jpeg compressed", "bayer_gbrg8; png compressed "])
def test_a_mosaic_that_was_compressed_as_grey_is_refused(kind):
    with pytest.raises(ObservationError, match="Bayer mosaic, compressed"):
        compressed_pixels(SimpleNamespace(format=kind, data=encoded(RGB[..., 0], "PNG")))


def test_a_compressed_image_of_16_bits_is_refused_with_a_remedy_that_fits():
    deep = encoded(np.zeros((4, 6), np.uint16), "PNG")
    for recorded, words in ((False, "robot file"), (True, "range")):
        with pytest.raises(ObservationError, match=words):
            compressed_pixels(SimpleNamespace(format="mono; png", data=deep), recorded=recorded)


def test_a_compressed_image_that_is_none_is_refused_in_few_words():
    with pytest.raises(ObservationError, match="JPEG") as refused:
        compressed_pixels(SimpleNamespace(format="x" * 10**6, data=b"none"))
    assert len(str(refused.value)) < 1000


# A topic's view


def view(size: tuple[int, int] = (24, 24), **more) -> TopicView:
    return TopicView(CameraSpec(name="front", topic="t", frame="f", **more), size, image_pixels)


def test_images_of_any_size_are_cropped_to_the_policys_aspect_ratio_and_resized():
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 8:56] = 200  # the largest centred square
    seen = view()(message(pixels, "rgb8"))
    assert seen.shape == (24, 24, 3) and (seen == 200).all()
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[10:34, 4:28] = 90
    assert (view(crop=(4, 10, 24, 24))(message(pixels, "rgb8")) == 90).all(), "the crop comes first"
    wide = view((24, 48), crop=(4, 10, 24, 24))(message(pixels, "rgb8"))
    assert wide.shape == (24, 48, 3) and (wide == 90).all(), "its largest part with the aspect ratio"


def test_images_of_the_policys_size_are_taken_as_they_are():
    pixels = RNG.integers(0, 256, (24, 24, 3), np.uint8)
    seen = view(crop=(4, 4, 12, 12))(message(pixels, "bgr8"))
    assert (seen == pixels[..., ::-1]).all() and seen.flags.c_contiguous, "it was cropped before"


def test_a_crop_outside_and_a_part_too_small_for_the_aspect_ratio_are_refused():
    with pytest.raises(ObservationError, match="64 x 48, which the crop 50, 0, 24, 24 exceeds"):
        view(crop=(50, 0, 24, 24))(message(np.zeros((48, 64, 3), np.uint8), "rgb8"))
    with pytest.raises(ObservationError, match="would be distorted"):
        view((24, 40), crop=(0, 0, 6, 6))(message(np.zeros((48, 64, 3), np.uint8), "rgb8"))


def test_a_camera_that_changes_its_size_or_encoding_is_refused_until_it_is_as_before():
    seen = view()
    seen(message(np.zeros((48, 64, 3), np.uint8), "rgb8"))
    for size, encoding in (((24, 32), "rgb8"), ((24, 24), "rgb8"), ((48, 64), "bgr8")):
        with pytest.raises(ObservationError, match=f"have changed(.|\n)*64 x 48 rgb8(.|\n)*{size[1]} x {size[0]}"):
            seen(message(np.zeros((*size, 3), np.uint8), encoding))
    seen(message(np.zeros((48, 64, 3), np.uint8), "rgb8"))


def test_an_image_that_cannot_be_used_does_not_decide_on_the_size():
    seen = view(crop=(30, 0, 24, 24))
    with pytest.raises(ObservationError, match="exceeds"):
        seen(message(np.zeros((40, 48, 3), np.uint8), "rgb8"))
    assert seen(message(np.zeros((48, 64, 3), np.uint8), "rgb8")).shape == (24, 24, 3)
