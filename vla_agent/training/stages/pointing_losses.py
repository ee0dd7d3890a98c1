"""The losses of the pointing backbone: pointing maps, positions, and the names of objects."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.models.backbones.pointing.pointing_vlm import Pointing, PointingVLM

GOAL = 1  # number of the role: where the target is to go


def pointing_losses(out: Pointing, points: Tensor, located: Tensor, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """Losses of the pointing maps.

    Args:
        points: (B, V, R, 3) u, v, inside; NaN where there is nothing to point at.
        located: (B, R, 3) metres; NaN where unknown.
    """
    known = ~points[..., 2].isnan()
    inside = known & (points[..., 2] > 0.5)
    nll = -out.maps.gather(-1, _cells(points, image_size)[..., None]).squeeze(-1)
    count = inside.sum().clamp_min(1)
    miss = F.smooth_l1_loss(out.points, points[..., :2].nan_to_num(), beta=0.02, reduction="none").sum(-1)
    seen = F.binary_cross_entropy_with_logits(out.seen, points[..., 2].nan_to_num(), reduction="none")
    placed = ~located[..., 0].isnan()
    off = F.smooth_l1_loss(out.located, located.nan_to_num(), beta=0.02, reduction="none").sum(-1)
    return {
        "map": 0.3 * (nll * inside).sum() / count,
        "point": 5.0 * (miss * inside).sum() / count,
        "seen": 0.2 * (seen * known).sum() / known.sum().clamp_min(1),
        "locate": 10.0 * (off * placed).sum() / placed.sum().clamp_min(1),
    }


def move_loss(out: Pointing, points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """The moved candidate map learns the goals that the goal's map misses; a penalty keeps the chooser's logits small.

    Args:
        points: (B, V, R, 3) u, v, inside; NaN where there is nothing to point at.
    """
    cells = _cells(points, image_size)[:, :, GOAL, None]  # (B, V, 1)
    inside = points[:, :, GOAL, 2] > 0.5
    found = out.maps[:, :, GOAL].detach().gather(-1, cells).squeeze(-1)
    moved = out.candidates[:, :, -1].gather(-1, cells).squeeze(-1)
    nll = -torch.logaddexp(found, moved) + math.log(2)
    return 0.5 * (nll * inside).sum() / inside.sum().clamp_min(1) + 0.003 * out.mix.square().mean()


def _cells(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Points (..., 3) -> (...) index of the map's cell."""
    h, w = image_size[0] // 4, image_size[1] // 4
    u = (points[..., 0].nan_to_num() * w).long().clamp(0, w - 1)
    v = (points[..., 1].nan_to_num() * h).long().clamp(0, h - 1)
    return v * w + u


def plane_loss(model: PointingVLM, points: Tensor, located: Tensor) -> Tensor:
    """Error of the map from the first view's image to the table, for true points and heights; shapes as above."""
    known = (points[:, 0, :, 2] > 0.5) & ~located[..., 0].isnan()
    ground = model.on_plane(points[:, 0, :, :2].nan_to_num(), located[..., 2].nan_to_num())
    off = F.smooth_l1_loss(ground, located[..., :2].nan_to_num(), beta=0.005, reduction="none").sum(-1)
    return 10.0 * (off * known).sum() / known.sum().clamp_min(1)


def asked_loss(model: PointingVLM, logits: Tensor, asked: Tensor) -> Tensor:
    """The first queries must predict shape and colour of the objects that the prompt names.

    Args:
        logits: (B, Q, shapes + colours).  asked: (B, 2, 2) shape and colour, -1 where the prompt does not name it.
    """
    number, shapes = logits.shape[-1], model.config.num_names[0]
    wanted = logits.new_zeros(*asked.shape[:2], number + 1)
    first = torch.tensor([0, shapes])
    index = torch.where(asked >= 0, asked + first, number)  # the last column takes what is not named
    wanted = wanted.scatter(-1, index, 1.0)[..., :number]
    found = logits[:, : asked.shape[1]].float()
    return 0.3 * F.binary_cross_entropy_with_logits(found, wanted, reduction="none").sum(-1).mean()


def naming_loss(model: PointingVLM, f4: Tensor, named: Tensor, points: Tensor) -> Tensor:
    """Shape and colour at every object's centre, from the text-free features.

    Args:
        f4: (I, V, C4, h, w).  named: (I, O, 2) shape and colour, -1 for none.  points: (I, V, O, 3) u, v, inside.
    """
    inside = (points[..., 2] > 0.5) & (named[:, None, :, 0] >= 0)  # (I, V, O)
    logits = model.names(f4, points[..., :2].nan_to_num())
    total = points.new_zeros(())
    for k, part in enumerate(logits):
        target = named[:, None, :, k].expand(inside.shape)[inside]
        total = total + F.cross_entropy(part[inside], target)
    return 0.5 * total
