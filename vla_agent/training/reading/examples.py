"""Examples to learn reading from: a text, its kind, its slots, and the words that fill them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sim.tasks.task import TaskFamily
from vla_agent.models.reader.reader_settings import OPEN, UNKNOWN, ReaderSettings
from vla_agent.training.reading.grammar_file import Grammar
from vla_agent.training.reading.noise import joined, plain, with_courtesy, with_typos
from vla_agent.training.reading.reader_recipe import Fractions
from vla_agent.training.reading.things import Segment, Thing, choose, colour_words, name_thing
from vla_agent.training.reading.wording import Part, expand

ASIDE = ("aside", "aside_direction", "aside_colour")  # named, but not what it is about
MOST_TYPOS = 3


@dataclass(frozen=True)
class Example:
    """A text with its reading.

    slots: role -> value.  spans: (role, start, end) of the characters that say so.  clean: nothing was changed in it.
    """

    text: str
    kind: str
    slots: dict[str, str] = field(default_factory=dict)
    spans: tuple[tuple[str, int, int], ...] = ()
    clean: bool = False


class Examples:
    """Draws examples.

    Args:
        families: whose training wordings are the policy's own.
        held_out: wordings, as in task files, that no example may be; a thing is any ``{...}`` of them.
        hold_back: every this many-th wording of a kind is left out of `draw` and drawn by `draw_held_back`.
        unseen: the grammars that `draw_held_back` takes, with words that `draw` has not; left out: the same.
    """

    def __init__(
        self,
        settings: ReaderSettings,
        grammars: Sequence[Grammar],
        families: Iterable[TaskFamily] = (),
        held_out: Iterable[str] = (),
        mixture: Fractions | None = None,
        hold_back: int = 12,
        unseen: Sequence[Grammar] = (),
    ) -> None:
        self.unseen = list(unseen) or list(grammars)
        self.settings, self.grammars, self.mixture = settings, list(grammars), mixture or Fractions.model_validate({})
        self.templates = [(f.name, _renamed(w)) for f in families for w in f.wordings.train if f.name in settings.tasks]
        self.hold_back = hold_back
        self._held_out = [_as_pattern(wording) for wording in held_out]

    def draw(self, rng: np.random.Generator) -> Example:
        """One example to learn from."""
        while (made := self._draw(rng, held_back=False)) is None:
            pass
        return made

    def draw_held_back(self, rng: np.random.Generator) -> Example:
        """One example in a wording, and perhaps with words, that `draw` never uses."""
        while (made := self._draw(rng, held_back=True)) is None:
            pass
        return made

    def _is_held_out(self, text: str) -> bool:
        bare = re.sub(r"[^\w ]", "", text.lower()).strip()
        return any(pattern.fullmatch(bare) for pattern in self._held_out)

    def _draw(self, rng: np.random.Generator, held_back: bool) -> Example | None:
        mixture, grammars = self.mixture, self.unseen if held_back else self.grammars
        first = grammars[0]
        if self.templates and not held_back and rng.random() < mixture.templates:
            kind, wording = choose(self.templates, rng)
            return self._make(kind, wording, first, rng)
        more = len(grammars) > 1 and rng.random() < mixture.others
        grammar = choose(grammars[1:], rng) if more else first
        share = rng.random()
        if share < mixture.refused:
            unsafe = bool(grammar.unsafe) and rng.random() < 0.2
            wordings = grammar.unsafe if unsafe else grammar.others
            if wordings:
                return self._make("unsafe" if unsafe else "other", self._one(wordings, rng, held_back), grammar, rng)
        questions = {name: kind for name, kind in grammar.questions.items() if name in self.settings.questions}
        tasks = {name: kind for name, kind in grammar.families.items() if name in self.settings.tasks}
        kinds = questions if questions and share < mixture.refused + mixture.questions else tasks
        kind = choose(sorted(kinds), rng)
        return self._make(kind, self._one(kinds[kind].wordings, rng, held_back), grammar, rng)

    def _one(self, wordings: Sequence[str], rng: np.random.Generator, held_back: bool) -> str:
        """A wording: every `hold_back`-th one is held back, the sixth first."""
        mine = [w for k, w in enumerate(wordings) if (k % self.hold_back == 5) == held_back]
        return choose(mine or wordings, rng)

    def _make(self, kind: str, wording: str, grammar: Grammar, rng: np.random.Generator) -> Example | None:
        """An example of a wording; None where it came out as one that is held out."""
        parts = expand(wording, grammar.lists, self.settings.directions, rng)
        roles = set(self.settings.roles(kind))
        slots = self._values(kind, roles, parts, grammar, rng)
        aside = Thing(choose(self.settings.shapes, rng), choose(self.settings.colours, rng))
        segments: list[Segment] = []
        for part in parts:
            segments += self._say(part, slots, aside, grammar, rng)
        segments = _with_synonyms(segments, grammar, rng)
        if self._is_held_out(joined(segments)[0]):
            return None
        segments = with_courtesy(segments, grammar.before, grammar.after, grammar.fillers, rng)
        typos = rng.random() < self.mixture.typos
        if typos:
            segments = with_typos(segments, 1 + int(rng.integers(MOST_TYPOS)), rng)
        text, spans = joined(plain(segments, keep=rng.random() < 0.6))
        known = {role: value for role, value in slots.items() if role in roles}
        mine = tuple(span for span in spans if span[0] in roles)
        return Example(text, kind, known, mine, not typos)

    def _values(
        self, kind: str, roles: set[str], parts: Sequence[Part], grammar: Grammar, rng: np.random.Generator
    ) -> dict[str, str]:
        """Role -> value for all roles, those that the kind does not fill too: its wording may name things."""
        settings, mixture = self.settings, self.mixture
        target = Thing(choose(settings.shapes, rng), choose(settings.colours, rng))
        other = target
        while other == target:
            other = Thing(choose(settings.shapes, rng), choose(settings.colours, rng))
        colour, direction = choose(settings.colours, rng), choose(settings.directions, rng)
        told = settings.canonical(kind)
        if rng.random() < mixture.vague and "target.colour" in roles:
            vague_shape = rng.random() < 0.5
            target = replace(target, shape=OPEN) if vague_shape else replace(target, colour=OPEN)
        if "{targets}" in told and (rng.random() < 0.5 or len(grammar.cases) > 1 or grammar.genders):
            target = Thing(OPEN, choose(settings.colours, rng))
        if "{shape}" in told:
            target = replace(target, colour=OPEN)
        if "direction" in roles and grammar.unknown_directions and not any(p.meant for p in parts):
            direction = UNKNOWN if rng.random() < mixture.unknown else direction
        if roles and direction != UNKNOWN and rng.random() < mixture.unknown:
            target, other, colour = _with_unknown(roles, (target, other, colour), grammar, rng)
        meant = next((part.meant for part in parts if part.meant), "")
        return {
            "target.shape": target.shape,
            "target.colour": target.colour,
            "other.shape": other.shape,
            "other.colour": other.colour,
            "colour": colour,
            "direction": meant or direction,
        }

    def _say(
        self, part: Part, slots: dict[str, str], aside: Thing, grammar: Grammar, rng: np.random.Generator
    ) -> list[Segment]:
        """A part in words."""
        slot, settings = part.slot, self.settings
        if part.meant:
            return [(part.text, "direction")]
        if not slot:
            return [(part.text, "")]
        if slot in ("target", "targets", "other"):
            role = slot.removesuffix("s")
            thing = Thing(slots[f"{role}.shape"], slots[f"{role}.colour"])
            form = "bare" if slot == "targets" else part.text
            return name_thing(thing, grammar, form, role, rng, many=slot == "targets")
        if slot == "aside":
            return [(text, "") for text, _ in name_thing(aside, grammar, part.text, "aside", rng, many=False)]
        if slot in ("aside_direction", "direction"):
            value = choose(settings.directions, rng) if slot == "aside_direction" else slots["direction"]
            words = grammar.unknown_directions if value == UNKNOWN else grammar.directions[value]
            return [(choose(words, rng), "direction" if slot == "direction" else "")]
        value = aside.colour if slot == "aside_colour" else slots["colour"]
        forms = colour_words(value, grammar, rng)
        return [(forms[part.text or grammar.colour_forms[0]], "colour" if slot == "colour" else "")]


def _renamed(wording: str) -> str:
    """A task file's wording with the reader's slots; things in the grammar's form after "the"."""
    text = wording.replace("{reference}", "{other:bare}").replace("{second}", "{other:bare}")
    return text.replace("{zone}", "{colour}").replace("{target}", "{target:bare}")


def _with_synonyms(segments: list[Segment], grammar: Grammar, rng: np.random.Generator) -> list[Segment]:
    """Some words around the things replaced by others that mean the same."""
    if not grammar.synonyms or rng.random() < 0.6:
        return segments
    pattern = rf"\b({'|'.join(map(re.escape, sorted(grammar.synonyms, key=len, reverse=True)))})\b"

    def other(found: re.Match[str]) -> str:
        return choose(grammar.synonyms[found[1]], rng) if rng.random() < 0.7 else found[1]

    return [(text if role else re.sub(pattern, other, text), role) for text, role in segments]


def _as_pattern(wording: str) -> re.Pattern[str]:
    """A held-out wording without punctuation; a slot is one to four words."""
    parts = re.split(r"\{[^}]*\}\w*", wording.lower())
    bare = [re.sub(r"\s+", r" ", re.sub(r"[^\w ]", "", part)) for part in parts]
    return re.compile(r"[\w ]{1,40}?".join(map(re.escape, bare)).replace(r"\ ", " ").strip())


def _with_unknown(
    roles: set[str], named: tuple[Thing, Thing, str], grammar: Grammar, rng: np.random.Generator
) -> tuple[Thing, Thing, str]:
    """Target, other thing and colour, one of them by a word that the policy's world has not."""
    target, other, colour = named
    which = rng.random()
    if which < 0.6 and "target.colour" in roles and grammar.unknown_things:
        open_colour = OPEN if rng.random() < 0.4 else target.colour
        target = Thing(UNKNOWN, open_colour if target.colour != OPEN else OPEN)
    elif which < 0.75 and "other.colour" in roles and grammar.unknown_things:
        other = Thing(UNKNOWN, OPEN if rng.random() < 0.4 else other.colour)
    elif grammar.unknown_colours and "colour" in roles:
        colour = UNKNOWN
    elif grammar.unknown_colours and "target.colour" in roles and target.shape not in (OPEN, UNKNOWN):
        target = replace(target, colour=UNKNOWN if target.colour != OPEN else OPEN)
    return target, other, colour
