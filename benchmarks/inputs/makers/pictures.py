"""Pictures whose content says which frame they are, and their encodings."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def coded(number: int, height: int = 8, width: int = 8) -> np.ndarray:
    """(H, W, 3) uint8: red 200, green the frame's number, blue 40; the first row has 10 more blue.

    Order of channels, direction of rows and the number of the frame can be told from its pixels.
    """
    picture = np.empty((height, width, 3), np.uint8)
    picture[...] = (200, number % 256, 40)
    picture[0, :, 2] = 50
    return picture


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Pixels (H, W), (H, W, 3) or (H, W, 4) uint8, or (H, W) uint16 by Pillow; JPEG without loss of colour detail."""
    from PIL import Image

    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def raw(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """RGB pixels (H, W, 3) uint8 as rows (H, bytes) uint8 of one of ROS 2's encodings without loss."""
    height, width = pixels.shape[:2]
    alpha = np.full((height, width, 1), 77, np.uint8)
    channels = {
        "rgb8": pixels,
        "bgr8": pixels[..., ::-1],
        "8UC3": pixels[..., ::-1],
        "rgba8": np.concatenate([pixels, alpha], 2),
        "bgra8": np.concatenate([pixels[..., ::-1], alpha], 2),
        "8UC4": np.concatenate([pixels[..., ::-1], alpha], 2),
        "mono8": pixels[..., 1:2],
        "8UC1": pixels[..., 1:2],
    }
    return np.ascontiguousarray(channels[encoding]).reshape(height, -1)


def padded(rows: np.ndarray, padding: int) -> np.ndarray:
    """Rows (H, bytes) with ``padding`` bytes of 99 after each."""
    return np.concatenate([rows, np.full((len(rows), padding), 99, np.uint8)], axis=1)
