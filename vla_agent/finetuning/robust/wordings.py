"""Instructions in other words: those that the task's own file has for training, and rules that keep the meaning.

The files of `sim.tasks` say one thing in many ways; an instruction that is one of them is said in the others too, with
the same objects.  Around it the rules put politeness, or another verb in place of its own.  Held-out wordings are
never made: on them it is measured whether a policy understands what it never read.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

AROUND = ("{}", "please {}", "{} please", "can you {}", "could you {}", "now {}", "i want you to {}")
VERBS = (
    ("put", "place", "set"),
    ("push", "shove", "slide"),
    ("open", "pull open"),
    ("close", "shut"),
    ("press", "push down"),
    ("pick up", "grab", "lift", "take"),
)


def other_words(instruction: str) -> tuple[str, ...]:
    """The instruction and its variants, itself first; the objects that it names are never touched."""
    text = instruction.strip()
    heads = [text]
    for verbs in VERBS:
        found = next((v for v in sorted(verbs, key=len, reverse=True) if re.match(rf"{v}\b", text, re.I)), None)
        if found:
            heads += [v + text[len(found) :] for v in verbs if v != found]
            break
    told = task_words(text)
    variants = [around.format(head) for head in heads for around in AROUND] + list(told["train"])
    return tuple(dict.fromkeys([text, *(v for v in variants if v not in told["held_out"])]))


@cache
def task_words(instruction: str, suite: str = "tabletop") -> dict[str, tuple[str, ...]]:
    """The wordings of the task that an instruction sets, filled with its words: those for training, those held out.

    Both are empty where no family of the suite says it so.
    """
    from sim.tasks.task import load_suite

    said: dict[str, list[str]] = {"train": [], "held_out": []}
    for family in load_suite(suite).values():
        wordings = {"train": family.wordings.train, "held_out": family.wordings.held_out}
        for wording in (w for group in wordings.values() for w in group):
            slots = _filled(family, wording, instruction)
            if slots is None:
                continue
            for group, others in wordings.items():
                said[group] += [other.format(**slots) for other in others if set(_slots(other)) <= slots.keys()]
            break
    return {group: tuple(dict.fromkeys(found)) for group, found in said.items()}


def _slots(wording: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", wording)


def _filled(family: Any, wording: str, instruction: str) -> dict[str, str] | None:
    """What stands in a wording's slots, or None where the instruction is not this wording."""
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
