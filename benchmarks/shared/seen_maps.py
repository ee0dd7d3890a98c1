"""A sight that sees what it is told to, for tests of what is made of it."""

from __future__ import annotations

import torch
from torch import Tensor

from sim.world.scene import COLOURS, SHAPES
from vla_agent.models.backbones.pointing.sight import Sight, SightMaps
from vla_agent.policy.doubt.doubt_settings import DoubtSettings

NAMES = tuple(COLOURS)
SETTINGS = DoubtSettings(SHAPES, NAMES, slope=-1.0, offset=-3.0, hold_above=0.6)
CELLS, NOTHING = 24, -9.0


def maps_with(*things: tuple[int, str, str]) -> SightMaps:
    """Maps of two views of 24 x 24 cells: in the first one, (cell, colour, shape) each."""
    objects = torch.full((1, 2, CELLS**2), NOTHING)
    shapes, colours = (torch.full((1, 2, n, CELLS**2), NOTHING) for n in (len(SHAPES), len(NAMES)))
    boxes = torch.zeros(1, 2, 4, CELLS**2)
    boxes[:, :, 2:] = 0.1
    for cell, colour, shape in things:
        objects[0, 0, cell] = shapes[0, 0, SHAPES.index(shape), cell] = 0.0
        colours[0, 0, NAMES.index(colour), cell] = 0.0
    return SightMaps(objects, shapes, colours, boxes)


class Seen(Sight):
    """A sight whose maps are given."""

    def __init__(self, maps: SightMaps) -> None:
        super().__init__(4, 2, (len(SHAPES), len(NAMES)), width=4)
        self.maps = maps

    def look(self, stem: Tensor) -> SightMaps:
        return self.maps
