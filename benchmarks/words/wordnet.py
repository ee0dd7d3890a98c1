"""WordNet 3.0 from its database files: senses of a word, and everything that lies below a sense (Miller 1995)."""

from __future__ import annotations

import re
from pathlib import Path

FILES = {"n": "noun", "v": "verb"}


class WordNet:
    """The nouns and verbs of a folder with ``data.noun``, ``index.noun`` and so on.

    Some distributions cut ``data.noun`` in two files, ``data.noun1`` and ``data.noun2``.
    """

    def __init__(self, folder: Path) -> None:
        self._data = {part: _data(folder, name) for part, name in FILES.items()}
        self._index = {part: _index(folder / f"index.{name}") for part, name in FILES.items()}

    def sense(self, name: str) -> int:
        """Where the synset of a name such as ``mug.n.4`` stands.

        Raises:
            KeyError, IndexError: there is none.
        """
        lemma, part, number = name.rsplit(".", 2)
        return self._index[part][lemma][int(number) - 1]

    def first_sense(self, lemma: str, part: str) -> int | None:
        """Where the commonest meaning of a word stands."""
        return next(iter(self._index[part].get(lemma.replace(" ", "_"), ())), None)

    def words(self, name: str, depth: int) -> list[str]:
        """The words of a sense and of all senses at most ``depth`` steps below it."""
        part = name.rsplit(".", 2)[1]
        found: dict[str, None] = {}
        for place in self.below(part, self.sense(name), depth):
            found |= dict.fromkeys(self._synset(part, place)[0])
        return list(found)

    def below(self, part: str, place: int, depth: int) -> set[int]:
        """A synset and those at most ``depth`` steps below it."""
        found, border = {place}, [place]
        for _ in range(depth):
            border = [b for a in border for b in self._synset(part, a)[1] if b not in found]
            found |= set(border)
        return found

    def _synset(self, part: str, place: int) -> tuple[list[str], list[int]]:
        """Words of a synset, proper names left out, and the synsets below it."""
        data = self._data[part]
        fields = data[place : data.index(b"\n", place)].decode().split(" | ")[0].split()
        count = int(fields[3], 16)
        words = [re.sub(r"\(.*\)", "", word) for word in fields[4 : 4 + 2 * count : 2]]
        start = 5 + 2 * count
        links = [fields[k : k + 4] for k in range(start, start + 4 * int(fields[start - 1]), 4)]
        return [w.replace("_", " ") for w in words if w == w.lower()], [
            int(link[1]) for link in links if link[0] == "~"
        ]


def _data(folder: Path, name: str) -> bytes:
    whole = folder / f"data.{name}"
    if whole.exists():
        return whole.read_bytes()
    return b"\n".join((folder / f"data.{name}{k}").read_bytes() for k in (1, 2))


def _index(file: Path) -> dict[str, list[int]]:
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if not line.startswith(" "):
            found[fields[0]] = [int(place) for place in fields[-int(fields[2]) :]]
    return found
