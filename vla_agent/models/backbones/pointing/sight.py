"""What is where: objects with names and boxes, and fixtures, from the pointing backbone's text-free features.

    f4 (B, V, C4, h, w) --3 x 3--> --3 x 3--> --3 x 3, dilated--> --1 x 1--> object, shape, colour, box, height, place,
                        |      ^                                             fixtures at each cell
                        |      --scale and shift, from the mean over all cells and views
                        --1 x 1, the backbone's own names-------------------> + shape, colour

An object is a cell that holds its centre, after Zhou et al. 2019, "Objects as Points" (CenterNet).  Shape and colour
are classified apart, so that pairs which training never showed are named as well.  The backbone's own names are right
at an object's centre and say nothing elsewhere; here a cell may hold nothing, and they are what shapes and colours
begin with.  A fixture of each kind and colour has a map of its own: objects lie on zones.  The mean over the scene
tells the light, without which no cell tells white from yellow; it scales and shifts the channels (Perez et al. 2018,
FiLM).

Names are learned at centres alone: they are read at a cell that no neighbour surpasses, and there between the cells,
where it says that the centre lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.backbones.pointing.sight_maps import SightMaps

EMPTY = -4.0  # first logit of an object or fixture: few cells hold one
HEIGHT_SCALE = 0.1  # metres of an output of 1
BOX = 4
LEAST = 1e-9  # probability of a name


class SightSizes(NamedTuple):
    """Numbers of names: shapes, colours, places where an object can lie, kinds of fixtures."""

    shapes: int
    colours: int
    places: int = 3
    fixtures: int = 2

    @property
    def parts(self) -> tuple[int, ...]:
        """Channels of object, shape, colour, box, height, place, fixtures."""
        return 1, self.shapes, self.colours, BOX, 1, self.places, self.fixtures * self.colours


class SightLabels(NamedTuple):
    """What I images show: O objects, F fixtures, -1 and NaN for none and unknown."""

    named: Tensor  # (I, O, 2) int64: shape and colour
    boxes: Tensor  # (I, V, O, 5) = u, v of the centre, whether it is in the image, width and height as fractions of it
    heights: Tensor  # (I, O) metres
    places: Tensor  # (I, O) int64
    fixtures: Tensor  # (I, F, 2) int64: kind and colour
    fixture_points: Tensor  # (I, V, F, 3) = u, v, inside


class Sight(nn.Module):
    """Names the objects of images.

    Args:
        channels: C4 of the stem.  views: V.  width: channels inside.
        context: hidden units between the scene's mean and the channels' scale and shift; 0: without these.
    """

    def __init__(self, channels: int, views: int, sizes: SightSizes, width: int = 32, context: int = 0) -> None:
        super().__init__()
        self.sizes, self.width, self.context = sizes, width, context
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, width, 3, padding=2, dilation=2)
        self.view = nn.Parameter(torch.zeros(views, width, 1, 1))
        self.out = nn.Conv2d(width, sum(sizes.parts), 1)
        self.names_before = nn.Conv2d(channels, sizes.shapes + sizes.colours, 1)
        if context:
            self.scene = nn.Sequential(nn.Linear(width, context), nn.ReLU(), nn.Linear(context, 2 * width))
            nn.init.zeros_(self.scene[2].weight)
            nn.init.zeros_(self.scene[2].bias)
        nn.init.zeros_(self.out.weight[1 : 1 + sizes.shapes + sizes.colours])
        nn.init.constant_(self.out.bias, 0.0)  # type: ignore[arg-type]
        nn.init.constant_(self.out.bias[:1], EMPTY)  # type: ignore[index]
        nn.init.constant_(self.out.bias[-sizes.parts[-1] :], EMPTY)  # type: ignore[index]

    @torch.no_grad()
    def begin_with(self, names: nn.Linear) -> None:
        """Begin with the backbone's own names of shapes and colours."""
        self.names_before.weight.copy_(names.weight[:, :, None, None])
        self.names_before.bias.copy_(names.bias)  # type: ignore[union-attr]

    def forward(self, stem: Tensor) -> Tensor:
        """Stem (B, V, C4, h, w) -> logits (B, V, sum of `SightSizes.parts`, h*w)."""
        b, v = stem.shape[:2]
        x = F.relu(self.first(stem.flatten(0, 1)) + self.view.repeat(b, 1, 1, 1))
        if self.context:
            mean = x.mean((2, 3)).unflatten(0, (b, v)).mean(1)
            scale, shift = self.scene(mean).repeat_interleave(v, 0)[:, :, None, None].chunk(2, dim=1)
            x = F.relu(x * (1 + scale) + shift)
        x = x + F.relu(self.second(x))
        x = x + F.relu(self.third(x))
        named = self.sizes.shapes + self.sizes.colours
        objects, names, more = self.out(x).split((1, named, sum(self.sizes.parts) - 1 - named), dim=1)
        logits = torch.cat([objects, names + self.names_before(stem.flatten(0, 1)), more], dim=1)
        return logits.flatten(2).unflatten(0, (b, v)).float()

    def look(self, stem: Tensor, log_sigmoid: Callable[[Tensor], Tensor] = F.logsigmoid) -> SightMaps:
        """Stem (B, V, C4, h, w) -> log-probabilities, as tensors.

        Args:
            log_sigmoid: the logarithm of the logistic function.
        """
        objects, shapes, colours, boxes, heights, places, fixtures = self.forward(stem).split(self.sizes.parts, dim=2)
        offset, size = boxes.split(2, dim=2)
        return SightMaps(
            objects=_peaks(log_sigmoid(objects[:, :, 0]), stem.shape[-1]),
            shapes=_at_centres(shapes, offset.tanh(), stem.shape[-1]),
            colours=_at_centres(colours, offset.tanh(), stem.shape[-1]),
            boxes=torch.cat([offset.tanh(), size.sigmoid()], dim=2),
            heights=heights[:, :, 0] * HEIGHT_SCALE,
            places=places.log_softmax(2),
            fixtures=log_sigmoid(fixtures).unflatten(2, (self.sizes.fixtures, self.sizes.colours)),
        )


def _peaks(objects: Tensor, width: int) -> Tensor:
    """(B, V, h*w) with -inf where one of the eight cells around is higher: names were learned at centres alone."""
    grid = objects.unflatten(2, (-1, width))
    return objects.masked_fill(F.max_pool2d(grid, 3, 1, 1).flatten(2) > objects, -torch.inf)


def _at_centres(names: Tensor, offset: Tensor, width: int) -> Tensor:
    """(B, V, n, h*w) log-probabilities of names, interpolated where each cell says that its object's centre lies.

    Args:
        names: logits (B, V, n, h*w).
        offset: (B, V, 2, h*w) in cells, to the right and down.
    """
    cells = torch.arange(names.shape[-1], device=names.device, dtype=torch.float32)
    rows = names.shape[-1] // width
    row = (cells / width).floor()
    centres = torch.stack(
        [(cells - row * width + 0.5 + offset[:, :, 0]) / width, (row + 0.5 + offset[:, :, 1]) / rows], -1
    )
    grid = names.softmax(2).flatten(0, 1).unflatten(2, (rows, width))
    found = F.grid_sample(grid, 2 * centres.flatten(0, 1)[:, None] - 1, padding_mode="border", align_corners=False)
    return found[:, :, 0].clamp_min(LEAST).log().unflatten(0, names.shape[:2])


def sight_losses(logits: Tensor, labels: SightLabels, sizes: SightSizes, width: int) -> dict[str, Tensor]:
    """Losses of `Sight.forward`: object, shape, colour, box, height, place, fixture.

    Args:
        logits: (I, V, sum of ``sizes.parts``, h*w), ``width`` cells a row.
    """
    objects, *_, fixtures = logits.split(sizes.parts, dim=2)
    inside = (labels.boxes[..., 2] > 0.5) & (labels.named[:, None, :, 0] >= 0)  # (I, V, O)
    cell, offset = _cells(labels.boxes, logits.shape[-1], width)
    number = inside.sum().clamp_min(1)
    index = cell[:, :, None].expand(-1, -1, logits.shape[2], -1)
    at = logits.gather(3, index).transpose(2, 3)[inside]  # (M, channels)
    _, shapes, colours, boxes, heights, places, _ = at.split(sizes.parts, dim=-1)
    named = labels.named[:, None].expand(-1, inside.shape[1], -1, -1)[inside]
    wanted_box = torch.cat([offset[inside], labels.boxes[..., 3:].nan_to_num()[inside]], -1)
    found_box = torch.cat([boxes[:, :2].tanh(), boxes[:, 2:].sigmoid()], -1)
    height = labels.heights[:, None].expand_as(inside)[inside] / HEIGHT_SCALE
    lies = labels.places[:, None].expand_as(inside)[inside]
    place_loss = F.cross_entropy(places, lies, ignore_index=-1, reduction="sum")
    return {
        "object": _cell_loss(objects[:, :, 0], cell, inside, width).sum() / number,
        "shape": F.cross_entropy(shapes, named[:, 0]),
        "colour": F.cross_entropy(colours, named[:, 1]),
        "box": 5.0 * F.l1_loss(found_box, wanted_box),
        "height": F.smooth_l1_loss(heights[:, 0], height),
        "place": place_loss / (lies >= 0).sum().clamp_min(1),
        "fixture": _fixture_loss(fixtures, labels, sizes, width),
    }


def _cells(points: Tensor, cells: int, width: int) -> tuple[Tensor, Tensor]:
    """Of points (..., 2 or more) = u, v: the cell's number (...) and the offset (..., 2) from its centre, in cells."""
    place = points[..., :2].nan_to_num() * torch.tensor([width, cells // width])
    column, row = place[..., 0].long().clamp(0, width - 1), place[..., 1].long().clamp(0, cells // width - 1)
    return row * width + column, place - torch.stack([column, row], -1) - 0.5


def _cell_loss(logits: Tensor, cell: Tensor, inside: Tensor, width: int) -> Tensor:
    """(..., h*w): of logits (..., h*w) where centres lie in cells (..., O), as far as they are inside (..., O)."""
    wanted = torch.zeros_like(logits).scatter_reduce_(-1, cell, inside.float(), "amax")
    grid = wanted.flatten(0, -2).unflatten(-1, (-1, width))
    beside = F.max_pool2d(grid, 3, 1, 1).flatten(1).view_as(wanted) - wanted  # neither right nor wrong
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * (1 + 3 * wanted) * (1 - beside)


def _fixture_loss(logits: Tensor, labels: SightLabels, sizes: SightSizes, width: int) -> Tensor:
    """Of logits (I, V, kinds * colours, h*w)."""
    inside = labels.fixture_points[..., 2] > 0.5  # (I, V, F)
    cell, _ = _cells(labels.fixture_points, logits.shape[-1], width)
    number = labels.fixtures[..., 0] * sizes.colours + labels.fixtures[..., 1]  # (I, F)
    own = F.one_hot(number, logits.shape[2]).transpose(1, 2)[:, None].bool()  # (I, 1, K, F)
    inside = inside[:, :, None] & own
    cell = cell[:, :, None].expand_as(inside)
    return _cell_loss(logits, cell, inside, width).sum() / inside.sum().clamp_min(1)
