"""Instructions in other words: the training wordings of the task's file, and rules that keep the meaning.

The files of `sim.tasks` have several wordings of each task; an instruction that matches one of them is also given in
the others, with the same objects.  The rules add politeness or replace the verb by a synonym.  Held-out wordings are
never made: on them it is measured whether a policy understands instructions that it was not trained on.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

SENTENCES = ("{}", "please {}", "{} please", "can you {}", "could you {}", "now {}", "i want you to {}")
VERBS = (
    ("put", "place", "set"),
    ("push", "shove", "slide"),
    ("open", "pull open"),
    ("close", "shut"),
    ("press", "push down"),
    ("pick up", "grab", "lift", "take"),
)


def rewordings(instruction: str) -> tuple[str, ...]:
    """The instruction and its variants, itself first; the words for objects are never changed."""
    text = instruction.strip()
    phrases = [text]
    for verbs in VERBS:
        found = next((v for v in sorted(verbs, key=len, reverse=True) if re.match(rf"{v}\b", text, re.I)), None)
        if found:
            phrases += [v + text[len(found) :] for v in verbs if v != found]
            break
    wordings = task_wordings(text)
    variants = [*(sentence.format(phrase) for phrase in phrases for sentence in SENTENCES), *wordings["train"]]
    return tuple(dict.fromkeys([text, *(v for v in variants if v not in wordings["held_out"])]))


@cache
def task_wordings(instruction: str, suite: str = "tabletop") -> dict[str, tuple[str, ...]]:
    """The wordings of an instruction's task, filled with its objects: ``train`` and ``held_out``.

    Both are empty where the instruction matches no family of the suite.
    """
    from sim.tasks.task import load_suite

    filled: dict[str, list[str]] = {"train": [], "held_out": []}
    for family in load_suite(suite).values():
        wordings = {"train": family.wordings.train, "held_out": family.wordings.held_out}
        for wording in (w for group in wordings.values() for w in group):
            slots = _match(family, wording, instruction)
            if slots is None:
                continue
            for group, others in wordings.items():
                filled[group] += [other.format(**slots) for other in others if set(_slots(other)) <= slots.keys()]
            break
    return {group: tuple(dict.fromkeys(found)) for group, found in filled.items()}


def _slots(wording: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", wording)


def _match(family: Any, wording: str, instruction: str) -> dict[str, str] | None:
    """The words in a wording's slots, or None where the instruction does not match this wording."""
    from sim.world.scene import COLOURS, SHAPES

    pattern = re.escape(wording).replace(r"\{", "{").replace(r"\}", "}")
    for slot in dict.fromkeys(_slots(wording)):
        words = f"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
        if slot in family.spec.choose:
            source = family.spec.choose[slot]
            words = "|".join(COLOURS if source[0] in ("buttons", "zones", "objects") else map(re.escape, source))
        pattern = pattern.replace(f"{{{slot}}}", f"(?P<{slot}>{words})", 1).replace(f"{{{slot}}}", f"(?P={slot})")
    found = re.fullmatch(pattern, instruction)
    return found.groupdict() if found else None
