"""An answer drawn on the front camera's image: boxes, names, probabilities."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vla_agent.evaluation.asking.answerer import Answer

SCALE, LINE = 5, "#ff2fd0"
MARGIN = 34  # pixels under the image for question and answer


def draw(image: np.ndarray, question: str, answer: Answer) -> Image.Image:
    """The image (H, W, 3) uint8, enlarged, with a box around each thing of the answer, and the answer under it."""
    height, width = SCALE * image.shape[0], SCALE * image.shape[1]
    page = Image.new("RGB", (width, height + MARGIN), "white")
    page.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST))
    pen = ImageDraw.Draw(page)
    for thing in answer.things:
        left, top, right, bottom = (round(v * s) for v, s in zip(thing.box, (width, height) * 2, strict=True))
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=LINE, width=2)
        pen.text((left + 3, max(0, top - 12)), f"{thing.name} {thing.probability:.0%}", fill=LINE)
    pen.text((6, height + 4), question, fill="black")
    pen.text((6, height + 18), f"{answer.text}  ({answer.confidence:.0%})", fill="black")
    return page
