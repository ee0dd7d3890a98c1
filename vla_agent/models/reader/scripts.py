"""Writing systems: a text in letters that a reader has never seen can not be read, however sure the network is."""

from __future__ import annotations

import unicodedata

LETTERS = ("Lu", "Ll", "Lt", "Lo")  # Unicode's categories; marks and modifiers belong to several scripts


def scripts_of(text: str) -> tuple[str, ...]:
    """The scripts of a text's letters as Unicode names them (``LATIN``, ``CYRILLIC``, ``CJK``), in order."""
    letters = (c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) in LETTERS)
    return tuple(dict.fromkeys(unicodedata.name(c, "UNNAMED").split(" ")[0].split("-")[0] for c in letters))
