"""Units by the words that people write for them."""

from __future__ import annotations

WORDS = {
    "rad": ("rad", "rads", "radian", "radians"),
    "deg": ("deg", "degs", "degree", "degrees", "°"),
    "m": ("m", "metre", "metres", "meter", "meters"),
    "mm": ("mm", "millimetre", "millimetres", "millimeter", "millimeters"),
}
_UNITS = {word: unit for unit, words in WORDS.items() for word in words}


def known_unit(text: str) -> str:
    """``rad``, ``deg``, ``m`` or ``mm`` for any of its words, in capitals too (but for a letter); else ``text``."""
    word = text.strip()
    return _UNITS.get(word if len(word) == 1 else word.casefold(), text)
