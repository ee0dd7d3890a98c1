"""An instruction cut into clauses, and each clause into events: what is done, to what, and where to.

A shallow reading of plain English, without a parser: ``knock the bottle off the table with the ball`` is the verb
*knock*, the patient *the bottle*, and the phrases (off, the table) and (with, the ball).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from vla_agent.policy.doubt.unsafe_words import TOOLS, VERBS, words

DETERMINERS = words("the a an this that these those my his her your our their its some any every each no s")
OWNERS = words("my his her our their s")
PRONOUNS = words("it them me him her us you myself yourself himself herself someone somebody anyone anybody everyone")
_PREPOSITIONS = words(
    "in into inside on onto at to towards toward off over through across against around round from with under below"
    " down up out away by for between beside behind past near along using after front-of out-of next-to over-to"
    " apart back aside open shut closed home together upside about"
)
_NOUNS_TOO = words("back home open closed inside past")  # after "the", "my"
_PARTICLES = words("over down off out up away apart")  # may stand before what they are said of: "tip over the cup"
_GOALS = words("onto on in into to towards toward next-to beside behind there here by left right near front-of")
_STATES = words("is are was were lies lying stands standing sits sitting fell fallen being not never")
_ENDS = words(
    "and or please now so which who until till because if when while where as again once twice hard harder how there"
    " here too also just all both instead thanks straight"
)
_NO_ADVERBS = words("belly family bully ally jelly fly butterfly")
_ADJECTIVES = words("good big hard little gentle quick loud nice proper firm sharp right light sound mighty bit of")
_LEADS = words("to and or you please just can could would will we should must not never now also kindly then by go")
_BEFORE_NOUNS = words("on in into onto of over under against inside")
_NEGATORS = words("not never without avoid avoiding no nothing nobody none neither prevent before unless instead")
_URGED = words("hesitate forget fail stop afraid shy just only mercy hesitation delay matter problem care mind worry")
_PLAIN = (
    (r"\bon top of\b", "on"),
    (r"\bin front of\b", "front-of"),
    (r"\bout of\b", "out-of"),
    (r"\boff of\b", "off"),
    (r"\bnext to\b", "next-to"),
    (r"\bover (?:to|towards?|onto|on to)\b", "over-to"),
    (r"n't\b", " not"),
    (r"\b(that|there|it|what|here|who)'s\b", r"\1 is"),
    (r"\bno[ -]one\b", "nobody"),
    (r"\brather than\b", "instead of"),
    (r"(?<!out)(?<!front)(?<!next)(?<!over)(?<=\w)-(?=\w)", " "),
)


@dataclass(frozen=True)
class Phrase:
    """Words of a noun phrase, with the preposition before it ("" for the patient of a verb)."""

    words: tuple[str, ...] = ()
    preposition: str = ""

    @property
    def head(self) -> str:
        """Its noun: *edge* of *the edge of the table*."""
        noun = self.words[: self.words.index("of")] if "of" in self.words[1:] else self.words
        return noun[-1] if noun else ""

    @property
    def owned(self) -> bool:
        """Whether it is somebody's: *his face*, *the visitor's face*."""
        return any(word in OWNERS for word in self.words[:-1])


@dataclass(frozen=True)
class Event:
    """What a clause says is done.

    verb: in its base form; "" for words before the first known verb.  particles: such as *over* in *knock it over*.
    text: the words after the verb.
    """

    verb: str
    patient: Phrase
    phrases: tuple[Phrase, ...]
    particles: frozenset[str]
    negated: bool
    text: str

    def to(self, *prepositions: str) -> list[Phrase]:
        """Phrases after one of the prepositions."""
        return [phrase for phrase in self.phrases if phrase.preposition in prepositions]


def read_events(instruction: str) -> list[Event]:
    """The events of all clauses, in order."""
    return [event for clause in clauses(instruction) for event in _events(clause)]


def clauses(instruction: str) -> list[list[str]]:
    """The words of each clause; prepositions of several words are one: *out-of*."""
    text = instruction.lower().replace("’", "'")
    for pattern, plain in _PLAIN:
        text = re.sub(pattern, plain, text)
    parts = re.split(r"[,.;:!?()\"]| -+ |\b(?:but|and then|then)\b", text)
    return [found for part in parts if (found := re.sub(r"[^a-z-]", " ", part).split())]


def negated(before: list[str]) -> bool:
    """Whether what follows these words of a clause is not to be done: *do not*, *careful not to*, *instead of*."""
    if before and before[-1] == "from":
        return True
    for k, word in enumerate(before):
        after = before[k + 1] if k + 1 < len(before) else ""
        question = word == "not" and (after == "you" or "why" in before[:k])
        if word in _NEGATORS and not question and after not in _URGED:
            return True
    return False


def _events(clause: list[str]) -> list[Event]:
    clause = _given(clause)
    starts = [k for k, word in enumerate(clause) if word in VERBS and not _is_noun(clause, k)]
    lead = clause[: starts[0]] if starts else clause
    found = [_event("", lead, False)] if lead else []
    for start, end in pairwise([*starts, len(clause)]):
        found.append(_event(VERBS[clause[start]], clause[start + 1 : end], negated(clause[:start])))
    return found


def _given(clause: list[str]) -> list[str]:
    """``give him a good punch`` as ``punch him``."""
    for k, word in enumerate(clause):
        for j in range(k + 2, min(k + 9, len(clause)) if word in ("give", "giving", "deal") else 0):
            if clause[j] in VERBS and clause[j] not in ("break", "hand", "cut", "light") and _is_noun(clause, j):
                stop = next(i for i in range(j - 1, k, -1) if clause[i] in DETERMINERS)
                return [*clause[:k], clause[j], *clause[k + 1 : stop], *clause[j + 1 :]]
    return clause


def _is_noun(clause: list[str], k: int) -> bool:
    """Whether a word that may be a verb is none: *a push*, *the red hammer*, *on fire*."""
    word = clause[k]
    while k > 0 and clause[k - 1] in _ADJECTIVES:
        k -= 1
    before = clause[k - 1] if k else ""
    if word in ("open", "shut", "close") and before == "drawer":  # "slam the drawer shut"
        return True
    if word in TOOLS and k and before not in _LEADS:
        return True
    return before in DETERMINERS - {"that", "no"} or (before in _BEFORE_NOUNS and not word.endswith("ing"))


def _event(verb: str, tail: list[str], is_negated: bool) -> Event:
    phrases, particles = _phrases(tail)
    patient = Phrase()
    if phrases and not phrases[0].preposition:
        given = len(phrases) > 1 and not phrases[1].preposition and phrases[0].head in PRONOUNS  # "throw me the mug"
        patient, phrases = phrases[int(given)], phrases[1:]
    elif phrases and phrases[0].preposition == tail[0] and tail[0] in _PARTICLES:
        patient = Phrase(phrases[0].words)
        particles.add(tail[0])
    return Event(verb, patient, tuple(phrases), frozenset(particles), is_negated, " ".join(tail))


def _phrases(tail: list[str]) -> tuple[list[Phrase], set[str]]:
    """The noun phrases of some words, and the prepositions without one."""
    phrases: list[Phrase] = []
    particles: set[str] = set()
    noun: list[str] = []
    preposition, said = "", True
    for k, word in enumerate([*tail, ""]):
        before = tail[k - 1] if k else ""
        starts = word in _PREPOSITIONS and not (word in _NOUNS_TOO and before in DETERMINERS)
        if starts or _ends_noun(word, noun):
            if noun and said:
                phrases.append(Phrase(tuple(noun), preposition))
            elif preposition and said and word not in _GOALS:
                particles.add(preposition)
            noun = []
            said = before not in _STATES if starts else not phrases or word in DETERMINERS
            preposition = word if starts else ""
        if not starts and not _is_end(word):
            noun.append(word)
    return phrases, particles


def _ends_noun(word: str, noun: list[str]) -> bool:
    known = bool(noun) and (noun[-1] not in DETERMINERS or noun[-1] in PRONOUNS) and noun[-1] != "of"
    return _is_end(word) or (known and word in DETERMINERS and word != "s")


def _is_end(word: str) -> bool:
    return word in _STATES or word in _ENDS or not word or (word.endswith("ly") and word not in _NO_ADVERBS)
