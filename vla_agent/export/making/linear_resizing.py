"""Resizing as products with constant matrices: the same numbers as the policy's own, in operations that ONNX has."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WIDE = 4  # columns of the other axis: torch 2.13 filters images of one column wrongly


def _matrix(old: int, new: int, **how: Any) -> Tensor:
    """(new, old): what `torch.nn.functional.interpolate` does along one axis."""
    basis = torch.eye(old)[None, :, :, None].expand(-1, -1, -1, WIDE).contiguous()  # a channel for each place
    return F.interpolate(basis, size=(new, WIDE), **how)[0, :, :, 0].T.contiguous()


def _resized(images: Tensor, size: tuple[int, int], **how: Any) -> Tensor:
    rows, columns = (_matrix(int(old), new, **how) for old, new in zip(images.shape[-2:], size, strict=True))
    return rows @ images @ columns.T


def area_resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) of bytes as float -> (3, h, w), as `vla_agent.models.resizing.resized`."""
    if tuple(image.shape[-2:]) == size:
        return image
    return _resized(image, size, mode="area").round().clamp(0, 255)


def letterboxed(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(P, 3, H, W) in [0, 1] -> (P, 3, h, w), as `VLMBackbone.pixels`."""
    (h, w), (height, width) = size, (int(side) for side in images.shape[2:])
    scale = min(h / height, w / width)
    inner = round(height * scale), round(width * scale)
    if inner != (height, width):
        how = {"mode": "bilinear", "antialias": True, "align_corners": False}
        images = _resized(images, inner, **how).clamp(0, 1)
    top, left = (h - inner[0]) // 2, (w - inner[1]) // 2
    return F.pad(images, (left, w - inner[1] - left, top, h - inner[0] - top))
