"""What people call colours, sorted to the colours of a policy's world by what they look like.

The names are those of the XKCD survey (Munroe 2010) and of CSS, which matplotlib carries with their RGB values.  Names
that say their colour (*dark red*) are the examples; every other name gets the colour of most of the five examples
nearest to it in CIELAB, where they agree.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from matplotlib.colors import CSS4_COLORS, XKCD_COLORS, to_rgb

NEIGHBOURS, AGREE, FARTHEST = 5, 4, 25.0  # the last in CIELAB's units
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """SRGB (N, 3) from 0 to 1 to CIELAB (N, 3), for daylight (D65)."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _TO_XYZ.T / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def names_of(known: list[str], lacking: list[str]) -> dict[str, list[str]]:
    """Colour -> names, for the colours of the world and for those that it lacks."""
    colours = [*known, *lacking]
    coded = {name.removeprefix("xkcd:"): code for name, code in XKCD_COLORS.items()}
    coded |= {_spaced(name, coded): code for name, code in CSS4_COLORS.items()}
    coded = {name: code for name, code in coded.items() if re.fullmatch(r"[a-z' -]+", name)}
    said = {name: [c for c in colours if re.search(rf"\b{c}(?:ish|y)?\b", name)] for name in coded}
    sure = {name: found[0] for name, found in said.items() if len(found) == 1 and name.endswith(found[0])}
    places = to_lab(np.array([to_rgb(coded[name]) for name in sure]))
    result: dict[str, list[str]] = {colour: [] for colour in colours}
    for name, code in coded.items():
        if name in sure:
            result[sure[name]].append(name)
        elif not said[name]:
            distances = np.linalg.norm(places - to_lab(np.array([to_rgb(code)])), axis=1)
            nearest = np.argsort(distances)[:NEIGHBOURS]
            colour, votes = Counter(list(sure.values())[k] for k in nearest).most_common(1)[0]
            if votes >= AGREE and distances[nearest[0]] < FARTHEST:
                result[colour].append(name)
    return result


def _spaced(name: str, words: dict[str, str]) -> str:
    """CSS writes *mediumseagreen*: with spaces, where both parts are known words."""
    for k in range(3, len(name) - 2):
        if (name[:k] in words or name[:k] in ("dark", "light", "medium", "pale", "deep")) and name[k:] in words:
            return f"{name[:k]} {name[k:]}"
    return name
