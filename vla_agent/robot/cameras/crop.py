"""Cropping and resizing of images to a policy's size."""

from __future__ import annotations

import numpy as np
from PIL import Image

Window = tuple[int, int, int, int]  # left, top, width, height in pixels
DISTORTION = 0.02  # of the aspect ratio, by rounding to whole pixels


def crop_window(shape: tuple[int, int], size: tuple[int, int], crop: Window | None = None) -> Window:
    """The largest centred part of ``crop`` with the aspect ratio of ``size``, in an image of ``shape`` (H, W)."""
    left, top, wide, high = crop or (0, 0, shape[1], shape[0])
    height, width = size
    scale = min(high / height, wide / width)
    part = round(height * scale), round(width * scale)
    return left + (wide - part[1]) // 2, top + (high - part[0]) // 2, part[1], part[0]


def distorted(part: Window, size: tuple[int, int]) -> bool:
    """Whether a part is so small that whole pixels cannot have the aspect ratio of ``size`` (H, W)."""
    return abs(part[2] * size[0] / (part[3] * size[1]) - 1.0) > DISTORTION if part[2] and part[3] else True


def crop_and_resize(pixels: np.ndarray, part: Window, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3): the crop, averaged down or interpolated to the size."""
    left, top, wide, high = part
    height, width = size
    pixels = np.ascontiguousarray(pixels[top : top + high, left : left + wide])
    if (high, wide) == (height, width):
        return pixels
    down = high > height or wide > width
    return np.asarray(
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX if down else Image.Resampling.BILINEAR)
    )


def center_crop(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3): the largest centred crop of that aspect ratio, resized."""
    return crop_and_resize(pixels, crop_window(pixels.shape[:2], size), size)
