"""The list of things that a sight finds in images: names, boxes, probabilities.  Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.policy.doubt.doubt_settings import DoubtSettings

LEAST = 0.3  # probability of a thing that is listed
APART = 5  # cells: of two peaks nearer than half of this, the higher one counts


@dataclass(frozen=True)
class Thing:
    """An object that is seen.

    view: number of the camera.  box: left, top, right, bottom as fractions of the image.  point: u, v of the centre.
    probability: that it is there and is this.
    """

    shape: str
    colour: str
    view: int
    point: tuple[float, float]
    box: tuple[float, float, float, float]
    probability: float

    @property
    def name(self) -> str:
        """As an instruction says it: ``red mug``."""
        return f"{self.colour} {self.shape}"


def best_place(maps: SightMaps, settings: DoubtSettings, pair: tuple[int, int], view: int = 0, size: int = 24) -> Thing:
    """Where a (shape, colour) fits best in one view, whether it is there or not.

    Args:
        maps: arrays.
        size: cells in a row of the maps.
    """
    shape, colour = pair
    fit = maps.objects[0, view] + maps.shapes[0, view, shape] + maps.colours[0, view, colour]
    cell = int(fit.argmax())
    return _thing(maps, settings, view, cell, size, (shape, colour, float(np.exp(fit[cell]))))


def find_things(maps: SightMaps, settings: DoubtSettings, view: int = 0, size: int = 24) -> list[Thing]:
    """The things in one view of the first image, the most probable first.

    Args:
        maps: arrays.
        size: cells in a row of the maps.
    """
    objects = np.exp(maps.objects[0, view]).reshape(-1, size)
    around = sliding_window_view(np.pad(objects, APART // 2, constant_values=-np.inf), (APART, APART))
    peaks = (around.max((-2, -1)) == objects) & (objects > LEAST)
    found = []
    for row, column in np.argwhere(peaks).tolist():
        cell = row * size + column
        shape, colour = np.exp(maps.shapes[0, view, :, cell]), np.exp(maps.colours[0, view, :, cell])
        probability = float(objects[row, column] * shape.max() * colour.max())
        found.append(_thing(maps, settings, view, cell, size, (int(shape.argmax()), int(colour.argmax()), probability)))
    return sorted(found, key=lambda thing: -thing.probability)


def _thing(
    maps: SightMaps, settings: DoubtSettings, view: int, cell: int, size: int, named: tuple[int, int, float]
) -> Thing:
    """The thing of a cell; ``named``: numbers of shape and colour, probability."""
    rows = maps.objects.shape[-1] // size
    du, dv, width, height = maps.boxes[0, view, :, cell].tolist()
    u, v = (cell % size + 0.5 + du) / size, (cell // size + 0.5 + dv) / rows
    left, top, right, bottom = u - width / 2, v - height / 2, u + width / 2, v + height / 2
    return Thing(
        shape=settings.shapes[named[0]],
        colour=settings.colours[named[1]],
        view=view,
        point=(u, v),
        box=(max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)),
        probability=named[2],
    )
