"""One wording of a grammar file: alternatives, lists and slots, expanded at random.

(a|b|)              one of these, perhaps nothing
(devant:in front of)  the words *devant*, which mean the direction *in front of*
<PUT>               one of a list of the file
{target:acc}        a slot, with the form that the language needs
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_LIST = re.compile(r"<([A-Z]+)>")
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
_INNERMOST = re.compile(r"\(([^()]*)\)")
_MEANT = re.compile(r"(\S[^:]*\S|\S):(\S.*)")
_DIRECTION = "\x00{}\x01{}\x02"


@dataclass(frozen=True)
class Part:
    """A piece of a wording.

    text: words; the form for a slot.  slot: its name, "" for plain words.  meant: direction that the words mean.
    """

    text: str
    slot: str = ""
    meant: str = ""


def expand(
    wording: str, lists: Mapping[str, Sequence[str]], directions: Sequence[str], rng: np.random.Generator
) -> list[Part]:
    """One random expansion, in its parts.

    Raises:
        KeyError: the wording names a list that the file lacks.
    """

    def choose(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    def alternative(found: re.Match[str]) -> str:
        chosen = choose(found[1].split("|"))
        meaning = _MEANT.fullmatch(chosen)
        if meaning and meaning[2] in directions:
            return _DIRECTION.format(meaning[1], meaning[2])
        return chosen

    text = wording
    while _INNERMOST.search(text):
        text = _INNERMOST.sub(alternative, text, count=1)
    text = _LIST.sub(lambda found: choose(lists[found[1]]), text)
    return list(_parts(text))


def _parts(text: str) -> list[Part]:
    found: list[Part] = []
    for piece in re.split(r"(\{\w+(?::\w+)?\}|\x00[^\x02]*\x02)", text):
        slot = _SLOT.fullmatch(piece)
        if slot:
            found.append(Part(slot[2] or "", slot[1]))
        elif piece.startswith("\x00"):
            words, _, meant = piece[1:-1].partition("\x01")
            found.append(Part(words, "", meant))
        elif piece:
            found.append(Part(piece))
    return found
