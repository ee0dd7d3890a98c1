"""The list of things that a sight finds in images: names, boxes, probabilities.  Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.policy.doubt.doubt_settings import DoubtSettings

LEAST = 0.3  # probability that anything is there, of a thing that is listed
FAINT = 0.02  # the same, of one that may count


@dataclass(frozen=True)
class Thing:
    """An object that is seen.

    view: number of the camera.  box: left, top, right, bottom as fractions of the image.  point: u, v of the centre.
    probability: that it is there and is this.  there: that anything is there.  place: where it lies, of the settings'.
    height: of its centre over the table, metres.
    """

    shape: str
    colour: str
    view: int
    point: tuple[float, float]
    box: tuple[float, float, float, float]
    probability: float
    there: float
    place: str
    height: float

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
    objects = np.exp(maps.objects[0, view])
    found = []
    for cell in np.flatnonzero(objects > LEAST).tolist():
        shape, colour = np.exp(maps.shapes[0, view, :, cell]), np.exp(maps.colours[0, view, :, cell])
        probability = float(objects[cell] * shape.max() * colour.max())
        found.append(_thing(maps, settings, view, cell, size, (int(shape.argmax()), int(colour.argmax()), probability)))
    return sorted(found, key=lambda thing: -thing.probability)


def chances(maps: SightMaps, settings: DoubtSettings, colour: str = "", shape: str = "", view: int = 0) -> np.ndarray:
    """(n,) probabilities, for each place where there may be an object, that there is one of this colour and shape.

    Args:
        maps: arrays.
        colour, shape: "" for any.
    """
    found = np.exp(maps.objects[0, view])
    cells = np.flatnonzero(found > FAINT)
    found = found[cells]
    if colour:
        found = found * np.exp(maps.colours[0, view, settings.colours.index(colour), cells])
    if shape:
        found = found * np.exp(maps.shapes[0, view, settings.shapes.index(shape), cells])
    return found


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
        there=float(np.exp(maps.objects[0, view, cell])),
        place=settings.places[int(maps.places[0, view, :, cell].argmax())],
        height=float(maps.heights[0, view, cell]),
    )
