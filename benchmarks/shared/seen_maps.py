"""A sight that sees what it is told to, for tests of what is made of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sim.world.scene import COLOURS, SHAPES
from vla_agent.models.backbones.pointing.sight import Sight, SightSizes
from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.policy.doubt.doubt_settings import DoubtSettings

NAMES = tuple(COLOURS)
SETTINGS = DoubtSettings(
    SHAPES,
    NAMES,
    slope=-1.0,
    offset=-3.0,
    hold_above=0.6,
    fixture=(-1.0, -3.0),
    place=(-1.0, -3.0),
    relation=(-100.0, 0.0),
)
CELLS, NOTHING = 24, -9.0


def maps_with(*things: tuple[int, str, str], tray: tuple[int, ...] = ()) -> SightMaps:
    """Maps of two views of 24 x 24 cells: in the first one, (cell, colour, shape or kind of fixture) each.

    tray: cells whose object lies in the tray; the others lie on the table.
    """
    objects = torch.full((1, 2, CELLS**2), NOTHING)
    shapes, colours = (torch.full((1, 2, n, CELLS**2), NOTHING) for n in (len(SHAPES), len(NAMES)))
    boxes = torch.zeros(1, 2, 4, CELLS**2)
    boxes[:, :, 2:] = 0.1
    places = torch.full((1, 2, len(SETTINGS.places), CELLS**2), NOTHING)
    places[:, :, 0] = 0.0
    fixtures = torch.full((1, 2, len(SETTINGS.fixtures), len(NAMES), CELLS**2), NOTHING)
    for cell, colour, shape in things:
        if shape in SETTINGS.fixtures:
            fixtures[0, 0, SETTINGS.fixtures.index(shape), NAMES.index(colour), cell] = 0.0
            continue
        objects[0, 0, cell] = shapes[0, 0, SHAPES.index(shape), cell] = 0.0
        colours[0, 0, NAMES.index(colour), cell] = 0.0
    for cell in tray:
        places[0, 0, :2, cell] = torch.tensor([NOTHING, 0.0])
    return SightMaps(objects, shapes, colours, boxes, torch.full((1, 2, CELLS**2), 0.03), places, fixtures)


class Seen(Sight):
    """A sight whose maps are given."""

    def __init__(self, maps: SightMaps) -> None:
        super().__init__(4, 2, SightSizes(len(SHAPES), len(NAMES)), width=4)
        self.maps = maps

    def look(self, stem: Tensor, log_sigmoid: Callable[[Tensor], Tensor] = F.logsigmoid) -> SightMaps:
        return self.maps
