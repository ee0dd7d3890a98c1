"""What an instruction takes for granted, read from its words: objects, fixtures, where things are.

A claim is read only where the words say it plainly.  ``put the red mug left of the blue cube`` names a goal and claims
no relation; ``put the red mug, which is left of the blue cube, in the tray`` claims one.  Words in other orders or
languages claim nothing here; the objects that they name come from the policy's text encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from vla_agent.policy.doubt.doubt_settings import DoubtSettings

NOUNS = {"button": "buttons?", "zone": "zone|square|patch"}  # of fixtures; any other is called by its own name
_THE, _IS = r"(?:the|a|an|that|this)", r"(?:is|stands|lies|sits|standing|lying|sitting|are)"
_WHICH = rf"(?:which|that) {_IS}"
_TO = r"(?:(?:just|directly) )?(?:to the |on the |at the )?"
_THINGS = r"(?:things?|objects?|ones?|everything|items?)"
_GOES = r"(?:goes|belongs|should|has to|must|needs to|is to)"
_OUT = r"(?:up )?(?:out of|from(?: inside| in| within| out of)?|off)"
_FIND = r"(?:there )?(?:is|stands|lies|sits|you find|you see|you will find)"


@dataclass(frozen=True)
class Named:
    """An object by its words; "" for a colour or a shape that is left open."""

    colour: str = ""
    shape: str = ""

    def __str__(self) -> str:
        return f"{self.colour} {self.shape or 'thing'}".strip()


@dataclass(frozen=True)
class Claims:
    """What an instruction takes for granted.

    objects: that are there.  fixtures: (colour, kind) that are there.  places: (object, place) where it lies.
    relations: (object, direction, object).
    """

    objects: tuple[Named, ...] = ()
    fixtures: tuple[tuple[str, str], ...] = ()
    places: tuple[tuple[Named, str], ...] = ()
    relations: tuple[tuple[Named, str, Named], ...] = ()


@dataclass(frozen=True)
class _Mention:
    named: Named
    start: int
    end: int


def read_claims(instruction: str, settings: DoubtSettings) -> Claims:
    """What the instruction takes for granted, in the settings' names of things."""
    text = re.sub(r"\s+", " ", re.sub(r"[,;:!?.]", " ", instruction.lower())).strip()
    mentions = _mentions(text, settings)
    objects = [m.named for m in mentions] + list(_open_mentions(text, settings))
    return Claims(
        tuple(dict.fromkeys(objects)),
        tuple(dict.fromkeys(_fixtures(text, settings))),
        tuple(dict.fromkeys(_places(text, mentions, settings))),
        tuple(dict.fromkeys(_relations(text, mentions, settings))),
    )


def _any(words: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(map(re.escape, words))})"


def _noun(kind: str) -> str:
    return NOUNS.get(kind, re.escape(kind))


def _mentions(text: str, settings: DoubtSettings) -> list[_Mention]:
    pattern = rf"\b({_any(settings.colours)}) ({_any(settings.shapes)})s?\b"
    return [_Mention(Named(m[1], m[2]), m.start(), m.end()) for m in re.finditer(pattern, text)]


def _open_mentions(text: str, settings: DoubtSettings) -> Iterator[Named]:
    """Objects of which only the colour or only the shape is named."""
    colours, shapes = _any(settings.colours), _any(settings.shapes)
    for found in re.finditer(rf"\b({colours}) {_THINGS}\b|\beverything(?: that is)? ({colours})\b", text):
        if not re.search(r"\b(?:button|zone|square|patch)\b", text):  # "the red one" of buttons
            yield Named(colour=found[1] or found[2])
    for found in re.finditer(rf"\b(?:the|a|an|any|every|each) ({shapes})\b(?! (?:button|zone|square|patch))", text):
        yield Named(shape=found[1])


def _fixtures(text: str, settings: DoubtSettings) -> Iterator[tuple[str, str]]:
    for kind in settings.fixtures:
        pattern = (
            rf"\b({_any(settings.colours)}) (?:{_noun(kind)})\b"
            rf"|\b(?:{_noun(kind)}) (?:that|which) is ({_any(settings.colours)})\b"
        )
        for found in re.finditer(pattern, text):
            yield found[1] or found[2], kind


def _places(text: str, mentions: list[_Mention], settings: DoubtSettings) -> Iterator[tuple[Named, str]]:
    for place in settings.places[1:]:  # most objects lie on the first one, the table
        noun = rf"(?:{_THE} )?(?:open )?{_noun(place)}"
        after = (
            rf" (?:{_WHICH} |is |lies )?{_OUT} {noun}\b"
            rf"| {_WHICH} (?:in|inside) {noun}\b"
            rf"| (?:in|inside) {noun} {_GOES}\b"
            rf"| (?:is|lies|sits) (?:already )?(?:in|inside) {noun} (?!{_GOES})\w"
        )
        before = rf"\b(?:empty|clear|free) {noun} of {_THE} $|\b(?:from|out of) (?:inside )?{noun} [a-z ]*?{_THE} $"
        for mention in mentions:
            if re.match(after, text[mention.end :]) or re.search(before, text[: mention.start]):
                yield mention.named, place


def _relations(text: str, mentions: list[_Mention], settings: DoubtSettings) -> Iterator[tuple[Named, str, Named]]:
    directions = "|".join(re.escape(name) for name, *_ in settings.directions)
    goal = rf"\b(?:in|into|inside|to|onto|on|over to|at)(?: {_THE})?(?: \w+)? (?:{_goals(settings)})\b"
    has_goal = re.search(goal, text) is not None
    plain = rf"^ (?:({_WHICH} )|(?:{_IS} |from )?){_TO}({directions})(?: {_THE})? $"
    for a, b in pairwise(mentions):
        between = text[a.end : b.start]
        found = re.match(plain, between)
        if found and (found[1] or has_goal):
            yield a.named, found[2], b.named
        turned = re.search(rf"\b({directions}) {_THE} $", text[: a.start])
        if turned and re.match(rf"^ {_FIND}(?: {_THE})? $", between) and has_goal:
            yield b.named, turned[1], a.named


def _goals(settings: DoubtSettings) -> str:
    return "|".join(_noun(name) for name in (*settings.fixtures, *settings.places[1:]))
