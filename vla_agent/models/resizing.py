"""Images of any size in the size of a model; training and serving use this one function, so that both see the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., h, w, 3) uint8: means over areas, rounded; the same tensor where the size is that.

    The aspect ratio may change: nothing is cropped, so that places as fractions of the image stay.
    """
    if tuple(images.shape[-3:-1]) == size:
        return images
    flat = images.reshape(-1, *images.shape[-3:]).movedim(-1, 1).float()
    small = F.interpolate(flat, size=size, mode="area").round().clamp(0, 255).to(torch.uint8)
    return small.movedim(1, -1).reshape(*images.shape[:-3], *size, 3)
