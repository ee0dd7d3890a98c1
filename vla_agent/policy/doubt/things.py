"""The list of things that a sight finds in images: names, boxes, probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vla_agent.models.backbones.pointing.sight import SightMaps
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


def find_things(maps: SightMaps, settings: DoubtSettings, view: int = 0, size: int = 24) -> list[Thing]:
    """The things in one view of the first image, the most probable first.

    Args:
        size: cells in a row of the maps.
    """
    objects = maps.objects[0, view].exp().unflatten(0, (-1, size))
    peaks = (F.max_pool2d(objects[None, None], APART, 1, APART // 2)[0, 0] == objects) & (objects > LEAST)
    found = []
    for row, column in torch.nonzero(peaks).tolist():
        cell = row * size + column
        shape, colour = maps.shapes[0, view, :, cell].exp(), maps.colours[0, view, :, cell].exp()
        du, dv, width, height = maps.boxes[0, view, :, cell].tolist()
        u, v = (column + 0.5 + du) / size, (row + 0.5 + dv) / len(objects)
        left, top, right, bottom = u - width / 2, v - height / 2, u + width / 2, v + height / 2
        found.append(
            Thing(
                shape=settings.shapes[int(shape.argmax())],
                colour=settings.colours[int(colour.argmax())],
                view=view,
                point=(u, v),
                box=(max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)),
                probability=float(objects[row, column] * shape.max() * colour.max()),
            )
        )
    return sorted(found, key=lambda thing: -thing.probability)
