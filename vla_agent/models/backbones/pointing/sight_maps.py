"""What a sight finds, as maps over the cells of each view.  Imports no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class SightMaps(NamedTuple):
    """Log-probabilities over the cells of each view, h * w of them in rows."""

    objects: Any  # (B, V, h*w) that an object's centre lies there; -inf where a neighbour's is higher
    shapes: Any  # (B, V, shapes, h*w) of its shape, if there is one
    colours: Any  # (B, V, colours, h*w)
    boxes: Any  # (B, V, 4, h*w): centre's offset from the cell's in cells, then width and height as fractions of it
    heights: Any  # (B, V, h*w) metres of its centre over the table
    places: Any  # (B, V, places, h*w) of where it lies
    fixtures: Any  # (B, V, kinds, colours, h*w) that the centre of such a fixture lies there

    def arrays(self) -> SightMaps:
        """The same as arrays of numpy."""
        return SightMaps(*(np.asarray(part.detach().cpu() if hasattr(part, "detach") else part) for part in self))

    def pairs(self, shapes: slice = slice(None), colours: slice = slice(None)) -> np.ndarray:
        """(B, V, shapes, colours): of each pair of these, at its best cell; of `arrays`."""
        named = self.shapes[:, :, shapes, None] + self.colours[:, :, None, colours]
        return (self.objects[:, :, None, None] + named).max(-1)
