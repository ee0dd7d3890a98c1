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
    "zone": r"(?:target |goal |big |small |marked )?(?:zones?|squares?|patch(?:es)?|areas?|fields?|regions?|spots?"
    r"|tiles?|marks?|markers?|rectangles?)",
}
_FIXTURE = "|".join(NOUNS.values())
_THE = r"(?:the|a|an|that|this)"
_RESTS = r"(?:standing|lying|sitting|resting|waiting|located|situated|found)"
_LAID = r"(?:placed|put|positioned|left|stored|kept|dropped|set down)"
_STILL = r"(?:already|still|now|currently|right now|actually)"
_BE = r"(?:is|are|was|has been|stands?|lies?|sits?|rests?|happens to be)"
_IS = rf"(?:{_BE}(?: {_STILL})?(?: (?:{_RESTS}|{_LAID}))?|{_RESTS}|placed)"
_WHICH = (
    rf"(?:(?:which|that|it) {_IS}|(?:(?:which|that) )?you (?:can )?(?:see|find)|being|{_STILL}(?: {_RESTS})?"
    r"|(?:(?:that )?is )?(?:the one|what you see)|over there)"
)
# What is only gripped has no goal yet: "pick up the red mug left of the blue cube" says where it is.
_GRIP = r"\b(?:pick(?: up)?|grab|grasp|fetch|retrieve|collect|take hold of|get hold of|reach for|take out)(?: up| out)?"
_TO = r"(?:(?:just|directly|immediately|currently) )?(?:to the |on the |at the )?"
_THINGS = r"(?:things?|objects?|ones?|everything|items?)"
_GOES = r"(?:goes|belongs|should|has to|must|needs to|is to|ought to)"
_OUT = r"(?:up )?(?:(?:back )?out (?:of|from)|from(?: inside| in| within| out of)?|off)"
_FIND = r"(?:there )?(?:is|stands|lies|sits|you find|you see|you (?:wi)?ll (?:find|see)|you can see)"
_SEEN = (
    r"\b(?:there (?:is|lies|stands|sits|are|should be)|(?:you|i|we) (?:(?:wi)?ll |can )?(?:find|see|spot)|notice"
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
        plain = rf"\b({colour}) (?:the )?{noun}\b"
        marked = rf"\b{noun} (?:(?:that|which|is|in|of|colou?red|painted|marked|with|the|a) )*({colour})\b"
        own = rf"{marked}(?! (?:{_any(settings.shapes)}|{_THINGS})\b)"
        for pattern in (plain, own, listed, one):
            for found in re.finditer(pattern, text):
                yield next(filter(None, found.groups())), kind


def _places(text: str, mentions: list[_Mention], settings: DoubtSettings) -> Iterator[tuple[Named, str]]:
    for place in settings.places[1:]:  # most objects lie on the first one, the table
        noun = rf"(?:{_THE} )?(?:open )?{_noun(place)}\b"
        inside = rf"(?:in|inside) {noun}"
        moved = rf"{inside} (?:out of|onto|on top of|over to|to) (?!the (?:left|right|back|front|side)\b){_THE}\b"
        lying, laid = rf"(?:{_WHICH}|{_RESTS}) {inside}", rf"(?:(?:{_RESTS}|{_LAID}) )"
        holds = rf"(?:(?:that|which) )?{noun} (?:holds|contains|has)\b"
        after = rf" (?:(?:{_WHICH} |{_IS} )?{_OUT} {noun}|{lying}|{inside} {_GOES}\b|{moved}|{holds})"
        fell = rf"(?:has )?(?:fell|fallen|dropped|rolled|slipped) (?:in|into) {noun}"
        state = rf" (?:{_IS} {inside}|{fell})"
        fetched = rf"\b(?:from|out of) (?:inside )?{noun} (?:{_FETCH} )*{_THE} $"
        emptied = rf"\b(?:empty|clear|free|unload) {noun} (?:(?:of|by|and|then|taking|lifting|{_FETCH}) )+{_THE} $"
        before = rf"{emptied}|{fetched}|\b{inside} {_FIND} {_THE} $|\b{noun} (?:holds|contains|has) {_THE} $"
        shown = rf"{_SEEN} {_THE} $|{_GIVEN} {_THE} $|\b(?:hand|bring|pass|fetch) me {_THE} $"
        for mention in mentions:
            ahead, behind = text[mention.end :], text[: mention.start]
            told = re.match(rf"{state} (?!{_GOES})\w", ahead) and not re.search(_WANTED, behind)
            seen = re.search(rf"{shown}|{_GRIP} {_THE} $", behind) and re.match(rf" {laid}?{inside}", ahead)
            if told or seen or re.match(after, ahead) or re.search(before, behind) or _comes_out(behind, ahead, noun):
                yield mention.named, place


def _comes_out(behind: str, ahead: str, noun: str) -> bool:
    """Whether "open the drawer and take the red mug out", or "look in the drawer for the red mug"."""
    inside = (
        rf"\b(?:(?:reach|go|look|check) (?:in|into|inside)) {noun} (?:for |(?:(?:and|then|please|{_FETCH}) )+){_THE} $"
    )
    taken = rf" (?:in|inside) {noun} (?:(?:please|now|and|then|{_FETCH}|put|place) )*it\b"
    if re.search(inside, behind) or (re.search(r"^(?:the )?$|\btake the $", behind) and re.match(taken, ahead)):
        return True
    opened = re.search(rf"\b(?:open|go to) {noun} (?:(?:and|then|please|{_FETCH}) )+{_THE} $", behind)
    return opened is not None and (" out " in opened[0] or re.match(r" out\b(?! of the)", ahead) is not None)


def _relations(text: str, mentions: list[_Mention], settings: DoubtSettings) -> Iterator[tuple[Named, str, Named]]:
    directions = "|".join(re.escape(name) for name, *_ in settings.directions)
    for a, b in pairwise(mentions):
        before, between, after = text[: a.start], text[a.end : b.start], text[b.end :]
        spot = r"(?:away )?from (?:(?:its|the) (?:spot|place|position) )?"
        where = rf"{_TO}({directions})(?: {_THE})? $"
        found = re.match(rf"^ (?:({_WHICH} |{spot})|({_BE}(?: \w+)? )|(?:{_RESTS} |{_LAID} )?){where}", between)
        if found and (found[1] or _is_said(before, after, bool(found[2]), settings)):
            yield a.named, found[3], b.named
        turned = re.search(rf"\b({directions}) {_THE} $", before)
        if (
            turned
            and re.match(rf"^ {_FIND}(?: {_THE})? $", between)
            and (_leads_on("", after, settings) or _goes_on(after))
        ):
            yield b.named, turned[1], a.named


def _is_said(before: str, after: str, told: bool, settings: DoubtSettings) -> bool:
    """Whether "the red mug left of the blue cube", between these words, is how things are, and not a goal.

    Args:
        told: it says "the red mug is left of the blue cube".
    """
    if re.search(rf"(?:{_GIVEN}|{_SEEN}|{_GRIP}|\b(?:your|the) (?:target|object|goal) is) {_THE} $", before):
        return True
    if re.search(_WANTED, before) and not re.search(r"\bsee (?:the|a) $", before):
        goal = (
            rf" (?:(?:put|placed|moved|dropped|set) )?(?:in|into|on|onto|to) {_THE}(?: \w+)? (?:{_goals(settings)})\b"
        )
        return re.match(goal, after) is not None
    return (told and _goes_on(after)) or _leads_on(before, after, settings)


def _goes_on(after: str) -> bool:
    """Whether something is to be done with what was said to be somewhere: "... lift it"."""
    return re.match(r" (?!when|once|if|until|after|at|by\b)(?:.* )?(?:it|that one|this one)\b", after) is not None


def _leads_on(before: str, after: str, settings: DoubtSettings) -> bool:
    """Whether a goal of its own follows, or goes before: "... and put it in the tray", "into the tray goes ..."."""
    goal = rf"(?:in|into|inside|to|onto|on|over to|at)(?: {_THE})?(?: open)?(?: \w+)? (?:{_goals(settings)})\b"
    follows = re.match(rf" ({_THEN}){goal}", after)
    if follows and " it " in f" {follows[1]}" and re.search(rf"\b(?:put|place|set|lay|stand) {_THE} $", before):
        return False  # one goal, then another
    return bool(follows) or re.match(rf"^{goal} (?:goes|with|put|place|move|take|bring) {_THE} $", before) is not None


def _goals(settings: DoubtSettings) -> str:
    return "|".join(_noun(name) for name in (*settings.fixtures, *settings.places[1:]))
