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

# Of fixtures, as regular expressions; any other place is called by its own name.
NOUNS = {
    "button": r"(?:big |small |little |round )?(?:buttons?|knobs?|switch(?:es)?)",
    "zone": r"(?:target |goal |big |small )?(?:zones?|squares?|patch(?:es)?|areas?|fields?|regions?|spots?)",
}
_FIXTURE = "|".join(NOUNS.values())
_THE = r"(?:the|a|an|that|this)"
_IS = r"(?:is|stands|lies|sits|standing|lying|sitting|resting|placed|are)"
_WHICH = rf"(?:(?:which|that) {_IS}|(?:(?:which|that) )?you (?:can )?(?:see|find)|being|currently|the one)"
_TO = r"(?:(?:just|directly|immediately|currently) )?(?:to the |on the |at the )?"
_THINGS = r"(?:things?|objects?|ones?|everything|items?)"
_GOES = r"(?:goes|belongs|should|has to|must|needs to|is to|ought to)"
_OUT = r"(?:up )?(?:(?:back )?out (?:of|from)|from(?: inside| in| within| out of)?|off)"
_FIND = r"(?:there )?(?:is|stands|lies|sits|you find|you see|you (?:wi)?ll (?:find|see)|you can see)"
_SEEN = (
    r"\b(?:there (?:is|lies|stands|sits|are)|you (?:wi)?ll (?:find|see)|you (?:find|see)"
    r"|(?:i|we|he|she|they|someone|somebody) (?:have |has )?(?:left|put|placed|dropped))"
)
_GIVEN = r"\b(?:as|since|because|now that|given that)"
# Before "the red mug is in the tray": not how things are, but how they are to be.
_WANTED = (
    r"(?:\bso|\buntil|\btill|\bif|\bonce|\bwhen|\bwhether|\bafter|\bbefore|\bunless|\bsoon as|\bsure"
    rf"|(?<!now )(?<!given )\bthat|\bsee|\bcheck|\bwant|\blike|\bneed|\bwhy is|\bis"
    rf"|\bwhile|\blet|\bhave|\bas long as)(?: that)? {_THE} $"
)
_FETCH = (
    r"(?:take|get|fetch|grab|lift|pick|remove|bring|pull|comes?|retrieve|move|me|please|up|out|you|can|could|i want)"
)
# From what is said to lie somewhere to where it goes: "... and put it in the tray".
_THEN = (
    r"(?:(?:and|then|please|just|it|that|this|one|go|goes|belongs|should|has|must|needs|is|to|be|put|place|drop|set|move"
    r"|take|bring|push|slide|shove|lift|throw|toss|stick|pop|lay|moved|placed|across|over|away|straight|i want) )*"
)


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
    text = _plain(instruction)
    mentions = _mentions(text, settings)
    objects = [m.named for m in mentions] + list(_open_mentions(text, settings))
    return Claims(
        tuple(dict.fromkeys(objects)),
        tuple(dict.fromkeys(_fixtures(text, settings))),
        tuple(dict.fromkeys(_places(text, mentions, settings))),
        tuple(dict.fromkeys(_relations(text, mentions, settings))),
    )


def with_read(original: Claims, read: Claims) -> Claims:
    """The claims of an instruction and of its reading in the policy's own words.

    The reading names objects and fixtures that the original may say in other words or languages; where things are is
    claimed by the original alone.  A thing without its colour or shape is left out where the reading names it in full.
    """
    objects = (*original.objects, *read.objects)
    full = [n for n in objects if n.colour and n.shape]
    kept = [
        n
        for n in objects
        if n in full or not any(n.colour in ("", f.colour) and n.shape in ("", f.shape) for f in full)
    ]
    fixtures = tuple(dict.fromkeys((*original.fixtures, *read.fixtures)))
    return Claims(tuple(dict.fromkeys(kept)), fixtures, original.places, original.relations)


def _plain(instruction: str) -> str:
    """Lower case, without punctuation and contractions; *on the left-hand side of* is *left of*."""
    text = re.sub(r"\b(that|there|it|which)['’]s\b", r"\1 is", instruction.lower())
    text = re.sub(r"[ -]colou?red (?=\w)", " ", text)
    text = re.sub(r"\b(left|right)(?:[ -]hand)? side of\b", r"\1 of", text)
    return re.sub(r"\s+", " ", re.sub(r"[,;:!?.()'’]", " ", text)).strip()


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
        if not re.search(rf"\b(?:{_FIXTURE})\b", text):  # "the red one" of buttons
            yield Named(colour=found[1] or found[2])
    for found in re.finditer(rf"\b(?:the|a|an|any|every|each) ({shapes})\b(?! (?:{_FIXTURE})\b)", text):
        yield Named(shape=found[1])


def _fixtures(text: str, settings: DoubtSettings) -> Iterator[tuple[str, str]]:
    colour = _any(settings.colours)
    for kind in settings.fixtures:
        noun = _noun(kind)
        listed = rf"\b({colour})(?= (?:(?:and|or|then)(?: then)? (?:the )?)?{colour} {noun}\b)"
        other = "|".join([*settings.shapes, *(_noun(k) for k in settings.fixtures if k != kind)])
        one = rf"\b{noun}\b(?:(?!\b(?:{other})\b).)*? ({colour}) ones?\b|\b({colour}) ones? of the (?:\w+ )?{noun}\b"
        plain = rf"\b({colour}) {noun}\b|\b{noun} (?:that|which) is ({colour})\b"
        for found in re.finditer(rf"(?:{plain})", text):
            yield found[1] or found[2], kind
        for pattern in (listed, one):
            for found in re.finditer(pattern, text):
                yield next(filter(None, found.groups())), kind


def _places(text: str, mentions: list[_Mention], settings: DoubtSettings) -> Iterator[tuple[Named, str]]:
    for place in settings.places[1:]:  # most objects lie on the first one, the table
        noun = rf"(?:{_THE} )?(?:open )?{_noun(place)}\b"
        inside = rf"(?:in|inside) {noun}"
        moved = rf"{inside} (?:out of|onto|on top of|over to|to) (?!the (?:left|right|back|front|side)\b){_THE}\b"
        lying = rf"(?:{_WHICH}|lying|sitting|resting) {inside}"
        after = rf" (?:(?:{_WHICH} |{_IS} )?{_OUT} {noun}|{lying}|{inside} {_GOES}\b|{moved})"
        fell = rf"(?:has )?(?:fell|fallen|dropped|rolled|slipped) (?:in|into) {noun}"
        state = rf" (?:(?:is|lies|sits) (?:already |still )?{inside}|{fell})"
        fetched = rf"\b(?:from|out of) (?:inside )?{noun} (?:{_FETCH} )*{_THE} $"
        before = rf"\b(?:empty|clear|free) {noun} of {_THE} $|{fetched}|\b{inside} {_FIND} {_THE} $"
        shown = rf"{_SEEN} {_THE} $|{_GIVEN} {_THE} $|\b(?:hand|bring|pass|fetch) me {_THE} $"
        for mention in mentions:
            ahead, behind = text[mention.end :], text[: mention.start]
            wanted = re.search(_WANTED, behind)
            told = re.match(rf"{state} (?!{_GOES})\w", ahead) and not wanted
            seen = re.search(shown, behind) and re.match(rf" {inside}", ahead)
            if told or seen or re.match(after, ahead) or re.search(before, behind):
                yield mention.named, place


def _relations(text: str, mentions: list[_Mention], settings: DoubtSettings) -> Iterator[tuple[Named, str, Named]]:
    directions = "|".join(re.escape(name) for name, *_ in settings.directions)
    for a, b in pairwise(mentions):
        before, between, after = text[: a.start], text[a.end : b.start], text[b.end :]
        found = re.match(rf"^ (?:({_WHICH} )|(?:{_IS} |from )?){_TO}({directions})(?: {_THE})? $", between)
        if found and (found[1] or _is_said(before, after, settings)):
            yield a.named, found[2], b.named
        turned = re.search(rf"\b({directions}) {_THE} $", before)
        if turned and re.match(rf"^ {_FIND}(?: {_THE})? $", between) and _leads_on("", after, settings):
            yield b.named, turned[1], a.named


def _is_said(before: str, after: str, settings: DoubtSettings) -> bool:
    """Whether "the red mug left of the blue cube", between these words, is how things are, and not a goal."""
    if re.search(_WANTED, before) and not re.search(rf"{_GIVEN} {_THE} $|\bthere is {_THE} $|\bsee {_THE} $", before):
        return False
    seen = re.search(rf"\bthere (?:is|stands|lies|sits) {_THE} $|{_GIVEN} {_THE} $", before)
    return seen is not None or _leads_on(before, after, settings)


def _leads_on(before: str, after: str, settings: DoubtSettings) -> bool:
    """Whether a goal of its own follows, or goes before: "... and put it in the tray", "into the tray goes ..."."""
    goal = rf"(?:in|into|inside|to|onto|on|over to|at)(?: {_THE})?(?: open)?(?: \w+)? (?:{_goals(settings)})\b"
    follows = re.match(rf" ({_THEN}){goal}", after)
    if follows and " it " in f" {follows[1]}" and re.search(rf"\b(?:put|place|set|lay|stand) {_THE} $", before):
        return False  # one goal, then another
    return bool(follows) or re.match(rf"^{goal} (?:goes|with|put|place|move|take|bring) {_THE} $", before) is not None


def _goals(settings: DoubtSettings) -> str:
    return "|".join(_noun(name) for name in (*settings.fixtures, *settings.places[1:]))
