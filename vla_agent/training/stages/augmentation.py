"""Image augmentation: shift, crop, brightness and colour.  No mirroring: the actions would have to be mirrored too.

A shift or a crop also moves the points of the pointing losses, and breaks the map from image to table; the position
losses leave such images out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.training.recipe import Augment


def augment(
    images: Tensor, points: Tensor, located: Tensor, settings: Augment, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Augment each view independently, with draws from the generator.

    Args:
        images: (B, V, H, W, 3) uint8.  points: (B, V, R, 3) u, v, inside.  located: (B, R, 3) metres.

    Returns:
        images, points and located in the same form; located is NaN where an image was shifted or cropped.
    """
    if settings.shift or settings.crop:
        moved_images, moved_points = _crop(images, points, settings, generator)
        if settings.share == 1:
            images, points, located = moved_images, moved_points, torch.full_like(located, torch.nan)
        else:
            moved = (torch.rand(len(images), generator=generator) < settings.share).to(images.device)
            images = torch.where(moved[:, None, None, None, None], moved_images, images)
            points = torch.where(moved[:, None, None, None], moved_points, points)
            located = located.masked_fill(moved[:, None, None], torch.nan)
    return (_change_colour(images, settings.colour, generator) if settings.colour else images), points, located


def _crop(images: Tensor, points: Tensor, settings: Augment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Show a random window of each image."""
    b, v, h, w, _ = images.shape
    zoom = 1 - settings.crop * torch.rand(b * v, 1, generator=generator)  # visible fraction of a side
    room = 1 - zoom
    start = room * torch.rand(b * v, 2, generator=generator)  # left, top, as fractions of a side
    size = torch.tensor([w, h])
    start = start + torch.randint(-settings.shift, settings.shift + 1, (b * v, 2), generator=generator) / size
    # affine_grid counts from -1 to 1: the visible window's half size is zoom, its centre 2 * (start + zoom / 2) - 1
    theta = torch.zeros(b * v, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom[:, 0]
    theta[:, :, 2] = 2 * start + zoom - 1
    flat = images.flatten(0, 1).movedim(-1, 1).float()
    start, zoom, theta = (part.to(images.device) for part in (start, zoom, theta))
    grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
    moved = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    start, zoom = start.view(b, v, 1, 2), zoom.view(b, v, 1, 1)
    places = (points[..., :2] - start) / zoom
    inside = points[..., 2] * ((places >= 0) & (places <= 1)).all(-1)
    inside = torch.where(points[..., 2].isnan(), points[..., 2], inside)
    moved = moved.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).unflatten(0, (b, v))
    return moved, torch.cat([places, inside[..., None]], dim=-1)


def _change_colour(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    shape = (len(images), 1, 1, 1, 3)  # the same in all views of a frame
    gain = 1 + amount * (2 * torch.rand(shape, generator=generator) - 1)
    offset = 128 * amount * (2 * torch.rand(shape, generator=generator) - 1)
    gain, offset = gain.to(images.device), offset.to(images.device)
    return ((images.float() - 128) * gain + 128 + offset).round().clamp(0, 255).to(torch.uint8)
