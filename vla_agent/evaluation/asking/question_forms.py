"""Questions in the forms that are answered from the list of things; any other goes to the backbone's own decoder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sim.tasks.predicates import DIRECTIONS
from sim.world.scene import COLOURS, SHAPES

_C, _S = f"(?P<c>{'|'.join(COLOURS)})", f"(?P<s>{'|'.join(SHAPES)})"
_A, _B = (f"(?P<c{n}>{'|'.join(COLOURS)}) (?P<s{n}>{'|'.join(SHAPES)})" for n in "12")
_D, _AN, _ANY = f"(?P<d>{'|'.join(DIRECTIONS)})", "(?:an?|the|any) ", "(?:object|thing)"
_SEE, _MANY = "(?:is there|do you see|can you see)", "(?:do you see|are there|are on the table)"
FORMS: tuple[tuple[str, str], ...] = (  # kind, pattern of the whole question without its question mark
    ("relation", rf"(?:is|does|do you see) (?:the|an?) {_A} (?:stand )?{_D} (?:the|an?) {_B}"),
    ("exists", rf"{_SEE} {_AN}(?:{_C} )?(?:{_S}|{_ANY})"),
    ("count", rf"(?:how many|count the)(?: {_C})?(?: (?:{_S}s?|{_ANY}s))(?: {_MANY})?"),
    ("beside", rf"(?:what|which object)(?: is| stands) {_D} the {_A}"),
    ("colour", rf"(?:what colour is the|which colour has the|the colour of the) {_S}"),
    ("shape", rf"(?:what is the {_C} {_ANY}|which object is {_C.replace('<c>', '<c3>')}"
     rf"|name the {_C.replace('<c>', '<c4>')} {_ANY})"),
    ("where", rf"(?:where is|find|point at|show me|look for) the {_C} {_S}"),
    ("list", r"name the objects from left to right|list (?:the|all) (?:objects|things)|what is on the table"),
    ("caption", r"describe the (?:picture|image|scene)|what do you see|say what is on the table"),
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A question that was understood.

    kind: of `FORMS`.  colour, shape: that it asks for; "" for any.  named: the (colour, shape) that it names in full.
    """

    kind: str
    colour: str = ""
    shape: str = ""
    direction: str = ""
    named: tuple[tuple[str, str], ...] = ()


def parse(text: str) -> Question | None:
    """The question's form, None where it has none of them."""
    plain = re.sub(r"\s+", " ", text.lower().strip(" ?.!\t\n"))
    for kind, pattern in FORMS:
        found = re.fullmatch(pattern, plain)
        if found:
            slots = {key: value or "" for key, value in found.groupdict().items()}
            colour = slots.get("c") or slots.get("c3") or slots.get("c4") or ""
            named = tuple((slots[f"c{n}"], slots[f"s{n}"]) for n in "12" if slots.get(f"s{n}"))
            return Question(kind, colour, slots.get("s", ""), slots.get("d", ""), named)
    return None
