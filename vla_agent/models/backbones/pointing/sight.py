"""What is where: objects, their shapes, colours and boxes, from the pointing backbone's text-free features.

    f4 (B, V, C4, h, w) --3 x 3--> --3 x 3--> --3 x 3, dilated--> --1 x 1--> object, shape, colour, box at each cell
                        --1 x 1, the backbone's own names-------------------> + shape, colour

An object is a cell that holds its centre, after Zhou et al. 2019, "Objects as Points" (CenterNet).  Shape and colour
are classified apart, so that pairs which training never showed are named as well.  The backbone's own names are right
at an object's centre and say nothing elsewhere; here a cell may hold nothing, and they are what shapes and colours
begin with.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMPTY = -4.0  # first logit of an object: few cells hold one
CERTAIN = 1e-6


class SightMaps(NamedTuple):
    """Log-probabilities over the cells of each view, h * w of them in rows."""

    objects: Tensor  # (B, V, h*w) that an object's centre lies there
    shapes: Tensor  # (B, V, shapes, h*w) of its shape, if there is one
    colours: Tensor  # (B, V, colours, h*w)
    boxes: Tensor  # (B, V, 4, h*w): centre's offset from the cell's in cells, then width and height as fractions of it

    def pairs(self) -> Tensor:
        """(B, V, shapes, colours): of each pair, at its best cell."""
        return (self.objects[:, :, None, None] + self.shapes[:, :, :, None] + self.colours[:, :, None]).amax(-1)


class Sight(nn.Module):
    """Names the objects of images.

    Args:
        channels: C4 of the stem.  views: V.  names: numbers of shapes and colours.  width: channels inside.
    """

    def __init__(self, channels: int, views: int, names: tuple[int, int], width: int = 32) -> None:
        super().__init__()
        self.names, self.width = names, width
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.view = nn.Parameter(torch.zeros(views, width, 1, 1))
        self.out = nn.Conv2d(width, 1 + sum(names) + 4, 1)
        self.names_before = nn.Conv2d(channels, sum(names), 1)
        nn.init.zeros_(self.out.weight[1 : 1 + sum(names)])
        nn.init.constant_(self.out.bias, 0.0)  # type: ignore[arg-type]
        nn.init.constant_(self.out.bias[:1], EMPTY)  # type: ignore[index]

    @torch.no_grad()
    def begin_with(self, names: nn.Linear) -> None:
        """Begin with the backbone's own names of shapes and colours."""
        self.names_before.weight.copy_(names.weight[:, :, None, None])
        self.names_before.bias.copy_(names.bias)  # type: ignore[union-attr]

    def forward(self, stem: Tensor) -> Tensor:
        """Stem (B, V, C4, h, w) -> logits (B, V, 1 + shapes + colours + 4, h*w)."""
        b, v = stem.shape[:2]
        x = F.relu(self.first(stem.flatten(0, 1)).unflatten(0, (b, v)) + self.view).flatten(0, 1)
        x = x + F.relu(self.second(x))
        x = x + F.relu(self.third(x))
        objects, names, boxes = self.out(x).split((1, sum(self.names), 4), dim=1)
        logits = torch.cat([objects, names + self.names_before(stem.flatten(0, 1)), boxes], dim=1)
        return logits.flatten(2).unflatten(0, (b, v)).float()

    def look(self, stem: Tensor) -> SightMaps:
        """Stem (B, V, C4, h, w) -> log-probabilities."""
        objects, shapes, colours, boxes = self.forward(stem).split((1, *self.names, 4), dim=2)
        offset, size = boxes.split(2, dim=2)
        parts = torch.cat([offset.tanh(), size.sigmoid()], dim=2)
        return SightMaps(F.logsigmoid(objects[:, :, 0]), shapes.log_softmax(2), colours.log_softmax(2), parts)


def sight_losses(logits: Tensor, named: Tensor, boxes: Tensor, names: tuple[int, int], width: int) -> dict[str, Tensor]:
    """Losses of `Sight.forward`.

    Args:
        logits: (I, V, 1 + shapes + colours + 4, h*w), ``width`` cells a row.
        named: (I, O, 2) shape and colour of each object, -1 for none.
        boxes: (I, V, O, 5) = u, v of the centre, whether it is in the image, width and height as fractions of it.
    """
    cells = logits.shape[-1]
    height = cells // width
    inside = (boxes[..., 2] > 0.5) & (named[:, None, :, 0] >= 0)  # (I, V, O)
    place = boxes[..., :2].nan_to_num() * torch.tensor([width, height])
    column, row = place[..., 0].long().clamp(0, width - 1), place[..., 1].long().clamp(0, height - 1)
    cell = row * width + column
    wanted = torch.zeros_like(logits[:, :, 0]).scatter_reduce_(2, cell, inside.float(), "amax")
    grid = wanted.unflatten(2, (height, width))
    beside = F.max_pool2d(grid, 3, 1, 1).flatten(2) - wanted  # neither right nor wrong
    off = F.binary_cross_entropy_with_logits(logits[:, :, 0], wanted, reduction="none") * (1 + 3 * wanted)
    number = inside.sum().clamp_min(1)
    index = cell[:, :, None].expand(-1, -1, logits.shape[2] - 1, -1)
    at = logits[:, :, 1:].gather(3, index).transpose(2, 3)[inside]  # (M, shapes + colours + 4)
    classes = named[:, None].expand(-1, boxes.shape[1], -1, -1)[inside]
    shapes, colours, offset, size = at.split((*names, 2, 2), dim=-1)
    centre = torch.stack([column, row], -1) + 0.5
    wanted_box = torch.cat([(place - centre)[inside], boxes[..., 3:].nan_to_num()[inside]], -1)
    found_box = torch.cat([offset.tanh(), size.sigmoid()], -1)
    return {
        "object": (off * (1 - beside)).sum() / number,
        "shape": F.cross_entropy(shapes, classes[:, 0]),
        "colour": F.cross_entropy(colours, classes[:, 1]),
        "box": 5.0 * F.l1_loss(found_box, wanted_box),
    }
