"""Encodings of uncompressed images, as in ROS 2's sensor_msgs/image_encodings, and their pixels as RGB.

Every function takes rows without padding and returns (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import threading
from itertools import product

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# Encoding -> bytes a pixel, and which of them are red, green and blue.  8UC3 and 8UC4 have the order of OpenCV.
CHANNELS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "8UC4": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
# Encoding -> FFmpeg's name: luma of every pixel, colour of every second one.
YUV422 = {"yuv422": "uyvy422", "uyvy": "uyvy422", "yuv422_yuy2": "yuyv422", "yuyv": "yuyv422"}
YUV420 = {"nv12": (0, 1), "nv21": (1, 0)}  # a plane of luma, then one of U and V at half the size; their order
YUV444 = ("nv24",)  # the same, at the full size: two rows of colours a row of pixels
BAYER = {  # encoding -> row and column of the first red pixel; blue is diagonal to it
    "bayer_rggb8": (0, 0),
    "bayer_grbg8": (0, 1),
    "bayer_gbrg8": (1, 0),
    "bayer_bggr8": (1, 1),
}
COLOUR = (*CHANNELS, *YUV422, *YUV420, *YUV444, *BAYER)  # what is read
DEEP = ("16UC1", "mono16")  # 16 bits a pixel: depth, or grey
DEPTH = (*DEEP, "32FC1", "64FC1")  # no colour
_OF_THREAD = threading.local()


def row_bytes(encoding: str, width: int) -> int:
    """Bytes of a row of ``width`` pixels, without padding."""
    if encoding in CHANNELS:
        return CHANNELS[encoding][0] * width
    return 2 * width if encoding in YUV422 or encoding in DEEP else width


def row_count(encoding: str, height: int) -> int:
    """Rows in memory of an image with ``height`` rows of pixels."""
    if encoding in YUV444:
        return 3 * height
    return height * 3 // 2 if encoding in YUV420 else height


def whole_size(encoding: str, height: int, width: int) -> bool:
    """Whether an image of this size has whole groups of pixels that share a colour."""
    if encoding in YUV422:
        return width % 2 == 0
    return width % 2 == 0 and height % 2 == 0 if encoding in YUV420 else min(height, width) >= 1


def decode(rows: np.ndarray, encoding: str) -> np.ndarray:
    """Rows of an image in one of :data:`COLOUR`: (`row_count`, `row_bytes`) uint8."""
    if encoding in CHANNELS:
        size, order = CHANNELS[encoding]
        pixels = rows.reshape(len(rows), -1, size)
        if size == 1:
            return np.repeat(pixels, 3, axis=2)
        return pixels[:, :, :3] if order == (0, 1, 2) else pixels[:, :, 2::-1]  # a view: most of it is cropped away
    if encoding in YUV422:
        return _from_yuv422(rows, YUV422[encoding])
    if encoding in YUV420:
        return _from_yuv420(rows, YUV420[encoding])
    if encoding in YUV444:
        return _from_yuv444(rows)
    return demosaic(rows, *BAYER[encoding])


def _from_yuv422(rows: np.ndarray, name: str) -> np.ndarray:
    """ITU-R BT.601, 16 to 235, as cameras send it; FFmpeg's numbers are at most 3 of 255 away from it."""
    return _by_ffmpeg(rows.shape[1] // 2, name, [rows])


def _from_yuv444(rows: np.ndarray) -> np.ndarray:
    """A plane of luma, then one of U and V for each pixel."""
    height, width = rows.shape[0] // 3, rows.shape[1]
    colours = rows[height:].reshape(height, width, 2)
    return _by_ffmpeg(width, "yuv444p", [rows[:height], colours[..., 0], colours[..., 1]])


def _by_ffmpeg(width: int, name: str, planes: list[np.ndarray]) -> np.ndarray:
    """Planes (H, bytes) of a frame that FFmpeg calls so -> (H, width, 3) RGB."""
    frame = av.VideoFrame(width, len(planes[0]), name)
    for plane, rows in zip(frame.planes, planes, strict=True):
        if plane.line_size != rows.shape[1]:
            padded = np.zeros((len(rows), plane.line_size), np.uint8)
            padded[:, : rows.shape[1]] = rows
            rows = padded
        plane.update(np.ascontiguousarray(rows))
    if not hasattr(_OF_THREAD, "reformatter"):
        _OF_THREAD.reformatter = VideoReformatter()  # keeps its tables from image to image
    return np.asarray(_OF_THREAD.reformatter.reformat(frame, format="rgb24").to_ndarray())


def _from_yuv420(rows: np.ndarray, order: tuple[int, int]) -> np.ndarray:
    """Each pair of rows has one row of colours."""
    height, width = rows.shape[0] * 2 // 3, rows.shape[1]
    packed = np.empty((height, width, 2), np.uint8)
    packed[:, :, 0] = rows[:height]
    colours = rows[height:].reshape(height // 2, width // 2, 2)[:, :, order].reshape(height // 2, width)
    packed[:, :, 1] = np.repeat(colours, 2, axis=0)
    return _from_yuv422(packed.reshape(height, 2 * width), "yuyv422")


def demosaic(mosaic: np.ndarray, red_row: int, red_column: int) -> np.ndarray:
    """A Bayer mosaic (H, W) uint8, with its first red pixel at this row and column: bilinear interpolation."""
    height, width = mosaic.shape
    if min(height, width) < 2:
        return np.repeat(mosaic[..., None], 3, axis=2)
    near = np.pad(mosaic, 1, mode="reflect").astype(np.uint16)  # a reflection keeps the colour of each place
    out = np.empty((height, width, 3), np.uint8)
    for row, column in product((0, 1), (0, 1)):

        def at(down: int, right: int, row: int = row, column: int = column) -> np.ndarray:
            """The neighbours of all pixels of this row and column, modulo 2."""
            return near[1 + row + down : 1 + height + down : 2, 1 + column + right : 1 + width + right : 2]

        own = out[row::2, column::2]
        beside, above = at(0, -1) + at(0, 1), at(-1, 0) + at(1, 0)
        in_red_row, in_red_column = row == red_row, column == red_column
        if in_red_row == in_red_column:  # a red or a blue pixel
            same, other = (0, 2) if in_red_row else (2, 0)
            own[..., same] = at(0, 0)
            own[..., 1] = (beside + above + 2) >> 2
            own[..., other] = (at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1) + 2) >> 2
        else:  # a green one: red beside it in rows with red, above it in the others
            own[..., 1] = at(0, 0)
            own[..., 0 if in_red_row else 2] = (beside + 1) >> 1
            own[..., 2 if in_red_row else 0] = (above + 1) >> 1
    return out
