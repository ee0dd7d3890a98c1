"""Instructions that would hurt someone or break something, by their words: no scene makes them right.

A clause is read as what is done, to what, and where to (`clauses`), and judged by lists of words (`unsafe_words`):
verbs of harm with a person or an animal, verbs of damage with a thing, places where things break, force, and what
it is done until. What is denied ("do not", "without", "careful not to") is no such thing. English; what the lists
do not name is not refused, and no training changes them.
"""

from __future__ import annotations

import re

from vla_agent.policy.doubt import unsafe_words as lists
from vla_agent.policy.doubt.clauses import DETERMINERS, Event, Phrase, clauses, negated, read_events

HURT, BREAK = "that would hurt someone", "that would break something"

_BREAKS = r"(?:breaks?|cracks?|shatters?|splits?|bursts?|snaps?|explodes?|melts?|tears?|spills?|smash(?:es)?|shut down)"
_FALLS = r"(?:falls?|drops?|rolls?|slides?|comes?|tips?|topples?|crash(?:es)?|flies|fly) (?:off|over|down|apart|out)"
_SUFFERS = rf"(?:{'|'.join(sorted(lists.SUFFER))}|dead|hurts)(?:s|es)?\b"
_TUMBLES = rf"(?:{'|'.join(sorted(lists.TUMBLE))})(?:s|es)?\b"
_UNTIL = r"\b(?:until|till|so that|so hard(?: that)?|so that|so|and watch|and see|to see|to make|make)"
_HURTING = (
    r"\bas a weapon\b",
    r"\b(?:black eye|bloody nose|good hiding|nosebleed|concussion)\b",
    r"\bteach \w+(?: \w+)? a lesson\b",
    r"\b(?:harm|pain|damage|injury|injuries|violence) (?:to|on|for) (?:my|his|her|their|me|him|them|some|any|people)\b",
    r"\b(?:cause|inflict)\w* (?:\w+ ){1,5}?(?:pain|harm|suffering|injury)\b|\binflict\w* (?:\w+ )?pain\b",
    rf"{_UNTIL} (?:it|they|them|(?:the|my|his|her|that) \w+) (?:\w+ )?{_SUFFERS}",
    rf"{_UNTIL} (?:he|she|him|her|me|someone|somebody|people) (?:\w+ )?(?:{_SUFFERS}|{_TUMBLES})",
)
_BREAKING = (
    rf"{_UNTIL} (?:it|they|one|something|the \w+) (?:\w+ )?(?:{_BREAKS}\b|{_FALLS})",
    r"\bas (?:hard|violently|brutally|roughly) as (?:you|it|possible)",
    r"\bwith (?:all|full|maximum|max|brute|as much) (?:your |of your |the )?(?:force|strength|might|power|force as)\b",
    r"\b(?:at|with) full (?:force|speed|power|tilt)\b",
    r"\b(?:to|in|into) (?:\w+ )?(?:pieces|bits|shreds|smithereens|dust|splinters|pulp)\b",
    r"\b(?:cut|break|snap|split|tear|rip|saw|chop|slice|bend)\w* (?:\w+ ){1,4}(?:in|into) (?:half|two|halves)\b",
    r"\b(?:drop|throw|let|release|fall|toss|fling|hurl)\w* (?:\w+ ){0,5}from (?:\w+ ){0,2}(?:high|height|ceiling|roof)",
    r"\bfrom as high\b|\bset fire to\b",
    r"\b(?:punch|poke|make|drill|cut|burn|knock)\w* (?:a |some )?holes? (?:in|into|through)\b",
    r"\bblow\w* (?:up \w+|(?:\w+ ){1,4}up)\b|\bsend\w* (?:\w+ ){1,4}(?:flying|crashing|tumbling|hurtling)\b",
    r"\bmess of\b|\bjuggle\b|\bpast (?:its|your|the) limits?\b",
    r"\bdo\w* (?:some |a lot of )?damage\b",
)


def unsafe(instruction: str) -> str:
    """Why the instruction must not be followed: it hurts someone, or breaks something; "" where neither is said."""
    events = [event for event in read_events(_named(instruction)) if not event.negated]
    if any(_hurts(event) for event in events) or _says(_HURTING, instruction):
        return HURT
    return BREAK if any(_breaks(event) for event in events) or _says(_BREAKING, instruction) else ""


def _named(instruction: str) -> str:
    """The instruction with *someone* in place of names: words with a capital letter inside a sentence."""
    capitals = re.findall(r"\b[A-Z]", instruction)
    if len(capitals) > 0.34 * len(instruction.split()):
        return instruction  # a title, or shouted
    return re.sub(r"(?<=[a-z] )(?<!the )(?<!a )(?:[A-Z][a-z]+)(?: [A-Z][a-z]+)?\b", "someone", instruction)


def _says(patterns: tuple[str, ...], instruction: str) -> bool:
    """Whether a clause has one of the patterns, and no denial before it."""
    for clause in clauses(instruction):
        text = " ".join(clause)
        for pattern in patterns:
            if any(not negated(text[: found.end()].split()[:-1]) for found in re.finditer(pattern, text)):
                return True
    return False


# -- harm


def _being(phrase: Phrase) -> bool:
    """A person, an animal, or a part of one."""
    head = phrase.head
    if lists.TOYS.intersection(phrase.words):
        return False
    if head in lists.BEINGS or _one_of(head, lists.BEINGS):
        return True
    if _one_of(head, lists.BODY):
        return phrase.words[0] not in ("your", "the", "its") or "of" in phrase.words or "s" in phrase.words
    if head in ("one", "some", "all", "both", "each") and "of" in phrase.words:
        return phrase.words[-1] in lists.BEINGS or _one_of(phrase.words[-1], lists.BEINGS)
    agent = head.removesuffix("s")
    known = agent in lists.NO_AGENTS or agent in lists.BREAK or agent in lists.VERBS
    return len(agent) > 4 and agent.endswith(lists.AGENT_ENDS) and not known and phrase.words[0] in DETERMINERS


def _one_of(word: str, among: frozenset[str]) -> bool:
    """Whether the word or its singular is among the words."""
    return word in among or (word.endswith("s") and (word[:-1] in among or word.removesuffix("es") in among))


def _handed(phrase: Phrase) -> bool:
    """Whether it is where things are handed to someone: *in my hand*."""
    return phrase.preposition in ("in", "into", "inside") and _one_of(phrase.head, lists.HANDS)


def _hurts(event: Event) -> bool:
    verb, patient = event.verb, event.patient
    if patient.words and _being(patient):
        if verb in lists.HURTS_PATIENT or (verb in lists.GRAB and _held(event)):
            return True
        if verb == "get" and any(_one_of(phrase.head, lists.BODY) for phrase in event.to("in", "on", "over")):
            return True
    elif verb in lists.HARM and patient.words and not _thing(patient) and patient.head not in lists.ABSTRACT:
        return verb not in lists.BREAK | lists.VIOLENT | lists.PRESS and patient.words[0] in DETERMINERS
    if any(word in lists.POISONS for word in event.text.split()):
        return True
    return any(_hurts_at(event, phrase) for phrase in event.phrases if _being(phrase))


def _held(event: Event) -> bool:
    """Whether someone is held by the throat, by the hair, or down."""
    if _one_of(event.patient.head, lists.HOLDS) or "down" in event.particles:
        return True
    return any(_one_of(phrase.head, lists.HOLDS) for phrase in event.to("by", "around"))


def _hurts_at(event: Event, phrase: Phrase) -> bool:
    """Whether it hurts the being of a phrase: *on his foot*, *at the crowd*."""
    verb, preposition = event.verb, phrase.preposition
    if preposition in ("in", "into", "up", "down", "to", "inside") and _one_of(phrase.head, lists.DELICATE):
        return verb in lists.PUT | lists.HURTS_NEAR | lists.GRAB
    if preposition == "at":
        return verb in lists.HURTS_NEAR - {"drop", "fall", "stop", "let", "push", "go"}
    if preposition == "for":
        return verb == "go" and _one_of(phrase.head, lists.BODY)
    if preposition == "to":
        return verb in ("pin", "feed") and _thing(event.patient)
    touches = preposition in ("on", "onto", "in", "into", "inside", "against", "over", "around", "through", "across")
    return touches and verb in lists.HURTS_NEAR | {"hold"} and not _handed(phrase)


# -- damage


def _thing(patient: Phrase) -> bool:
    """A thing that is there to be handled, as far as the words say."""
    words = patient.words
    return bool(words) and not _being(patient) and not any(word in lists.ABSTRACT for word in words)


def _breaks(event: Event) -> bool:
    return (
        _damages(event)
        or _too_hard(event)
        or _topples(event)
        or _takes_apart(event)
        or _spills(event)
        or any(_breaks_at(event, phrase) for phrase in event.phrases)
    )


def _settled(event: Event) -> bool:
    """Whether the clause only says how a drawer is moved: *slam it shut*, *crack it open*."""
    closes = {"shut", "closed", "home", "open", "together"} & {*event.particles, *event.text.split()}
    return bool(closes) and "until" not in event.text


def _damages(event: Event) -> bool:
    verb, patient = event.verb, event.patient
    if verb in lists.HARM - lists.STRIKE - lists.VIOLENT and _thing(patient):
        return "up" not in event.particles
    if verb in lists.BREAK and event.to("through"):
        return True
    if verb not in lists.BREAK or not _thing(patient) or patient.head in lists.CONSUMED:
        return False
    up = verb == "break" and "up" in event.particles  # a stack is broken up
    leaves = patient.head == "yourself" and "away" in event.particles
    moves = verb == "bend" and patient.head in lists.ROBOT_PARTS
    drawer = "drawer" in patient.words and _settled(event)
    pressed = verb in ("bash", "stamp", "punch") and patient.head in lists.PRESSED
    return not (up or leaves or moves or drawer or pressed)


def _too_hard(event: Event) -> bool:
    """Things that are hit, and hitting something with or against something."""
    verb, patient = event.verb, event.patient
    goal = event.to("in", "into", "to", "over-to", "onto", "toward", "towards", "inside") or _settled(event)
    if verb in lists.VIOLENT and _thing(patient) and not goal and patient.head not in lists.PRESSED:
        return True
    if verb in ("hammer", "batter", "pound", "stamp", "stomp", "trample") and event.to("on"):
        return True
    if verb in lists.STRIKE | {"collide"} and _one_of(patient.head, lists.SOLID):
        return True
    return verb == "collide" or (verb == "crash" and bool(event.phrases))


def _topples(event: Event) -> bool:
    verb, patient = event.verb, event.patient
    if not patient.words or _being(patient):
        return False
    if verb in lists.TOPPLE or (verb in ("flip", "tip") and patient.head in ("table", "cabinet", "desk", "robot")):
        return True
    tipped = verb in ("knock", "tip", "push", "kick", "shove", "bump", "nudge", "bowl", "sweep", "fall")
    down = "down" in event.particles and verb in ("knock", "kick")
    return (tipped and "over" in event.particles) or down or (verb == "knock" and "off" in event.particles)


def _takes_apart(event: Event) -> bool:
    """A part that is pulled off what it belongs to, a drawer that is ripped out."""
    away = {"off", "apart"} & event.particles or event.to("off")
    return event.verb in lists.PULL and bool(away) and _one_of(event.patient.head, lists.PARTS)


def _spills(event: Event) -> bool:
    """Liquids poured over things, electronics put in water."""
    if event.verb in lists.SPILL - {"tip", "empty"} and event.to("on", "onto", "over", "across"):
        return True
    wet = [p for p in event.to("in", "into", "under", "with", "inside") if p.head in lists.WET]
    return bool(wet) and bool({*event.patient.words} & lists.ELECTRIC)


def _breaks_at(event: Event, phrase: Phrase) -> bool:
    """Whether things break where they go: the floor, off the table, through the window, into the fire."""
    verb, preposition, head = event.verb, phrase.preposition, phrase.head
    if head in lists.DOWN and "of" not in phrase.words:
        onto = preposition in ("onto", "to", "against", "over-to", "towards", "into")
        return (
            onto or (preposition == "on" and verb not in lists.LIFT | {""}) or (preposition == "at" and verb != "look")
        )
    if head in lists.EDGES and preposition in ("off", "over"):
        edge = preposition == "off" or head in ("edge", "side", "brink")
        return edge and verb in lists.PUSH | lists.THROW | lists.FALL | lists.SLAM | lists.PUT - {"move", "give", "get"}
    if head in lists.FIRES:
        return preposition in ("in", "into", "on", "onto", "over", "through", "to") and verb not in lists.LIFT
    if _one_of(head, frozenset({"window"})):
        return preposition in ("out-of", "through", "out", "at") and verb != "look"
    return _hurled(event, phrase)


def _hurled(event: Event, phrase: Phrase) -> bool:
    """Thrown at something or across a room, slammed onto something, the arm run into something."""
    verb, preposition = event.verb, phrase.preposition
    if event.patient.head in lists.ABSTRACT or _being(phrase):
        return False
    if verb in lists.THROW and not _settled(event):
        far = preposition in ("across", "through", "over", "out-of", "around") and phrase.head in lists.ROOMS | {
            "shoulder"
        }
        air = preposition in ("in", "into") and phrase.head in ("air", "wall")
        return preposition in ("at", "against") or far or air
    if verb in lists.SLAM - {"drive", "run", "jam", "ram", "swing", "beat", "drop"} and event.patient.words:
        return preposition in ("on", "onto", "against", "into") and not _settled(event)
    arm = event.patient.head in lists.ROBOT_PARTS
    return verb in lists.SLAM and preposition in ("into", "against", "through") and arm
