"""Pictures as they are shown: a camera's image, enlarged, with maps, points and boxes of the policy drawn on it."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vla_agent.view.source import Picture

SIDE = 288  # pixels of the longer side, at least
ROLES = (((255, 150, 20), "where to grasp"), ((40, 215, 255), "where to go"))  # colour, words; in the order of the maps
BOX, DARK = (255, 47, 208), (17, 24, 39)
STRENGTH = 0.85  # of a map where it is largest


def draw(picture: Picture, maps: bool = True, points: bool = True, boxes: bool = False) -> np.ndarray:
    """(H', W', 3) uint8, the longer side `SIDE` or more.

    Args:
        maps, points, boxes: what of the policy is drawn.
    """
    image = enlarged(picture.image)
    if maps and picture.maps is not None:
        image = _blend(image, picture.maps)
    if not (points and picture.points is not None) and not (boxes and picture.boxes):
        return image
    canvas = Image.fromarray(image)
    if boxes:
        _draw_boxes(canvas, picture)
    if points and picture.points is not None:
        _draw_points(canvas, picture)
    return np.asarray(canvas)


def enlarged(image: np.ndarray) -> np.ndarray:
    """The image by a whole factor, so that each pixel of a small one stays a square."""
    factor = max(1, -(-SIDE // max(image.shape[:2])))
    return image if factor == 1 else np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def _blend(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    blended = image.astype(np.float32)
    for heat, (colour, _) in zip(maps, ROLES, strict=False):
        small = Image.fromarray((255 * heat.clip(0, 1)).astype(np.uint8))
        large = np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BILINEAR), np.float32) / 255
        weight = (STRENGTH * np.sqrt(large))[..., None]
        blended += weight * (np.array(colour, np.float32) - blended)
    return blended.astype(np.uint8)


def _draw_points(canvas: Image.Image, picture: Picture) -> None:
    pen, radius = ImageDraw.Draw(canvas), max(canvas.size) // 28
    assert picture.points is not None
    seen = np.ones(len(picture.points)) if picture.seen is None else picture.seen
    for (u, v), sure, (colour, _) in zip(picture.points, seen, ROLES, strict=False):
        x, y = u * canvas.width, v * canvas.height
        faint = tuple(int(DARK[k] + (0.25 + 0.75 * float(sure)) * (colour[k] - DARK[k])) for k in range(3))
        for width, ink in ((5, DARK), (3, faint)):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=width)


def _draw_boxes(canvas: Image.Image, picture: Picture) -> None:
    pen = ImageDraw.Draw(canvas)
    for box in picture.boxes:
        left, top, right, bottom = (c * s for c, s in zip(box.corners, canvas.size * 2, strict=True))
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=BOX, width=2)
        pen.text((left + 3, max(0, top - 12)), box.label, fill=BOX)
