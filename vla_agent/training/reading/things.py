"""What fills the slots of a wording: values drawn at random, and their words in a language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_agent.models.reader.reader_settings import OPEN, UNKNOWN
from vla_agent.training.reading.grammar_file import Forms, Grammar

Segment = tuple[str, str]  # words, and the role that they fill; "" for none
_PLACE = re.compile(r"\{(colour|shape)(?::(\w+))?\}")


@dataclass(frozen=True)
class Thing:
    """Values of a thing's shape and colour; `OPEN` where nothing is said, `UNKNOWN` for what this world lacks."""

    shape: str
    colour: str


def choose(options: Sequence[Any], rng: np.random.Generator) -> Any:
    """One of them."""
    return options[int(rng.integers(len(options)))]


def name_thing(
    thing: Thing, grammar: Grammar, form: str, role: str, rng: np.random.Generator, many: bool
) -> list[Segment]:
    """The words of a thing, those of its shape and colour with their roles ``ROLE.shape`` and ``ROLE.colour``.

    Args:
        form: of the grammar's ``objects``; "" for its first.  many: the plural, in English.
    """
    forms: Forms = grammar.objects
    forms = grammar.open_shape if thing.shape == OPEN else grammar.open_colour if thing.colour == OPEN else forms
    noun = grammar.unknown_things if thing.shape == UNKNOWN else grammar.shapes.get(thing.shape, ())
    gender, cases = grammar.nouns(choose(noun, rng)) if noun else ("any", {})
    genders = forms[form or next(iter(grammar.objects))]
    template = choose(genders.get(gender) or next(iter(genders.values())), rng)
    words = colour_words(thing.colour, grammar, rng)
    segments: list[Segment] = []
    for k, piece in enumerate(_split(template)):
        if k % 2 == 0:
            segments.append((piece + ("s" if many and thing.shape == OPEN and k else ""), ""))
        elif piece.startswith("shape"):
            text = cases[piece.partition(":")[2] or grammar.cases[0]]
            segments.append((text + ("s" if many and not text.endswith("s") else ""), f"{role}.shape"))
        else:
            segments.append((words[piece.partition(":")[2] or grammar.colour_forms[0]], f"{role}.colour"))
    return segments


def _split(template: str) -> list[str]:
    """Text, place, text, place ... of a template."""
    found, last = [], 0
    for place in _PLACE.finditer(template):
        found += [template[last : place.start()], place[1] + (f":{place[2]}" if place[2] else "")]
        last = place.end()
    return [*found, template[last:]]


def colour_words(colour: str, grammar: Grammar, rng: np.random.Generator) -> Mapping[str, str]:
    """Form -> word for a colour; nothing for `OPEN`."""
    if colour == OPEN:
        return {}
    return grammar.colour(choose(grammar.unknown_colours if colour == UNKNOWN else grammar.colours[colour], rng))
