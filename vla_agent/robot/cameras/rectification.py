"""Rectification, crop and resize of an image in one step: a sparse matrix, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix

from vla_agent.robot.cameras.calibration import Calibration
from vla_agent.robot.cameras.crop import Window


def make_rectifier(source: Calibration, part: Window, size: tuple[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """Images (H, W, 3) uint8 -> (height, width, 3) uint8: the crop ``part`` of the rectified image, resized.

    Each pixel is the mean of samples about one source pixel apart, each interpolated between four pixels.  Pixels
    outside the source are black.

    Args:
        source: of the distorted images; its model is plumb_bob.
        part: of the rectified image, which has the source's size.
        size: (height, width).
    """
    left, top, wide, high = part
    height, width = size
    fine = math.ceil(max(high / height, wide / width, 1.0))  # samples a pixel, in each direction
    u = left + (np.arange(width * fine) + 0.5) * wide / (width * fine) - 0.5
    v = top + (np.arange(height * fine) + 0.5) * high / (height * fine) - 0.5
    at_u, at_v = distort(source, *np.meshgrid(u, v))
    columns, rows = np.meshgrid(np.arange(width * fine) // fine, np.arange(height * fine) // fine)
    target = rows * width + columns
    column, row = np.floor(at_u).astype(np.int64), np.floor(at_v).astype(np.int64)
    entries = []
    for down in (0, 1):
        for right in (0, 1):
            x, y = column + right, row + down
            weight = (1 - np.abs(at_u - x)) * (1 - np.abs(at_v - y)) / fine**2
            inside = (x >= 0) & (x < source.width) & (y >= 0) & (y < source.height)
            entries.append((weight[inside], target[inside], (y * source.width + x)[inside]))
    weights, targets, sources = (np.concatenate(kind) for kind in zip(*entries, strict=True))
    shape = height * width, source.height * source.width
    matrix = coo_matrix((weights.astype(np.float32), (targets, sources)), shape=shape).tocsr()

    def rectify(pixels: np.ndarray) -> np.ndarray:
        mixed = matrix @ pixels.reshape(-1, 3).astype(np.float32)
        return np.rint(mixed).astype(np.uint8).reshape(height, width, 3)

    return rectify


def distort(source: Calibration, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source pixels of pixels (u, v) of the rectified image, by the model plumb_bob (Brown, 1966)."""
    k1, k2, p1, p2, k3 = source.coefficients
    ray = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(source.projection[:, :3] @ source.rotation).T
    x, y = ray[..., 0] / ray[..., 2], ray[..., 1] / ray[..., 2]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    pixel = np.stack([bent_x, bent_y, np.ones_like(x)], axis=-1) @ source.camera.T
    return pixel[..., 0], pixel[..., 1]
