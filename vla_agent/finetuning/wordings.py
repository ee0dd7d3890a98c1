"""Instructions in other words, by rules that keep their meaning: politeness around them, a verb in place of another."""

from __future__ import annotations

import re

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
    variants = [around.format(head) for head in heads for around in AROUND]
    return tuple(dict.fromkeys([text, *variants]))
