"""An instruction in anyone's words in, an instruction in the policy's own words out; or why it is not understood.

Imports no torch: an exported policy (`vla_agent.export`) reads with this module, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from vla_agent.models.reader.denials import REASON, denies
from vla_agent.models.reader.own_templates import OwnTemplates
from vla_agent.models.reader.reader_settings import (
    OPEN,
    REFUSED,
    ROLES,
    SLOT,
    UNKNOWN,
    ReaderSettings,
    ReadOutputs,
)
from vla_agent.models.reader.scripts import scripts_of

LONGEST = 500  # characters; longer ones are refused by their length, not read
UNSAFE = "that would hurt someone or break something"
NO_TASK = "I do not understand what I am to do"
FOREIGN = "I do not read that script"
UNSURE = "I do not understand the instruction well enough"
NAMES = {"shape": "thing", "colour": "colour", "direction": "place"}


@dataclass(frozen=True)
class Reading:
    """How an instruction was understood.

    original: as it was given.  text: in the policy's words; the original where it passed or was not understood.
    kind: family of tasks, form of question, "other" or "unsafe"; "" where it passed unread.
    slots: role -> value.  confidence: probability that this is right.  refusal: why it is not followed, in words.
    likely: the most probable meaning in the policy's words, sure or not; "" where there is none.
    """

    original: str
    text: str
    kind: str = ""
    slots: tuple[tuple[str, str], ...] = ()
    confidence: float = 1.0
    refusal: str = ""
    likely: str = ""

    @property
    def doubt(self) -> float:
        """Probability that the instruction can not be followed, where it is refused."""
        impossible = self.kind in REFUSED or UNKNOWN in dict(self.slots).values()
        return self.confidence if impossible else 1 - self.confidence

    @property
    def is_own(self) -> bool:
        """Whether the instruction was the policy's own wording already."""
        return not self.kind


class Net(Protocol):
    """A reader's network."""

    def read(self, ids: np.ndarray) -> ReadOutputs:
        """Ids (L,) of one text's tokens -> logits."""


class Reader:
    """Reads instructions.

    Args:
        net: gives `ReadOutputs` of the ids (L,) of a text: `ReaderNet`, in evaluation mode, or its exported graph.
        tokenizer: of the encoder, without padding: ``encode(text)`` has ``ids`` and ``offsets``.
    """

    def __init__(self, net: Net, tokenizer: Any, settings: ReaderSettings) -> None:
        self.net: Any = net
        self.tokenizer = tokenizer
        self.settings, self._own = settings, OwnTemplates(settings)
        words = "|".join(map(re.escape, sorted(settings.lacking, key=len, reverse=True)))
        self._lacking = re.compile(rf"\b(?:{words})\b") if words else None

    def __deepcopy__(self, memo: Any) -> Reader:
        return self  # nothing changes in it: copies of a policy share it

    def passing(self, templates: tuple[str, ...]) -> Reader:
        """The same reader, for which more templates pass unchanged."""
        all_of_them = tuple(dict.fromkeys((*self.settings.templates, *templates)))
        return Reader(self.net, self.tokenizer, replace(self.settings, templates=all_of_them))

    def read_task(self, instruction: str) -> Reading:
        """An instruction to act; a question is refused."""
        if self._own.match(instruction):
            return Reading(instruction, instruction)
        if denies(instruction):
            return Reading(instruction, instruction, "other", (), 1.0, REASON)
        reading = self.read(instruction)
        if not reading.refusal and reading.kind in self.settings.questions:
            return replace(reading, text=instruction, refusal="that is a question: vla-agent ask answers it")
        return reading

    def read(self, text: str) -> Reading:
        """A task or a question in anyone's words."""
        if len(text) > LONGEST:
            return Reading(text, text, "other", (), 0.0, f"the instruction has more than {LONGEST} characters")
        if self.settings.scripts and (foreign := set(scripts_of(text)) - set(self.settings.scripts)):
            known = " and ".join(self.settings.scripts).lower()
            return Reading(text, text, "other", (), 1.0, f"{FOREIGN} ({min(foreign).lower()}), only {known}")
        encoding = self.tokenizer.encode(text)
        output = self.net.read(np.array(encoding.ids, np.int64))
        kind, slots, odds = best_reading(output, self.settings)
        if "direction" in slots and self._is_lacking(text, encoding, output.pointers[0, ROLES.index("direction")]):
            slots["direction"] = UNKNOWN
        slope, offset = self.settings.curve
        confidence = float(1 / (1 + np.exp(-(slope * odds + offset))))
        reading = Reading(text, text, kind, tuple(slots.items()), confidence)
        if refusal := self._refusal(reading, output, encoding, slots):
            return replace(reading, refusal=refusal)
        likely = fill(self.settings.canonical(kind), slots)
        if confidence < self.settings.refuse_below:
            return replace(reading, likely=likely, refusal=f"{UNSURE}: perhaps {likely!r}")
        return replace(reading, likely=likely, text=likely)

    def _is_lacking(self, text: str, encoding: Any, pointer: Any) -> bool:
        """Whether the word that tells the direction is one that the policy has not learned."""
        start, end = encoding.offsets[int(pointer[: len(encoding.ids)].argmax())]
        found = self._lacking.finditer(text.lower()) if self._lacking else ()
        return any(start < match.end() and end > match.start() for match in found)

    def _refusal(self, reading: Reading, output: ReadOutputs, encoding: Any, slots: dict[str, str]) -> str:
        """Why the kind or a slot is refused, however sure they are; "" for neither."""
        if reading.kind == "unsafe":
            return UNSAFE
        if reading.kind == "other":
            return NO_TASK
        for role, value in slots.items():
            if value == UNKNOWN:
                word = pointed_word(reading.original, encoding, output.pointers[0, ROLES.index(role)])
                name = NAMES[role.rpartition(".")[2]]
                return f"I do not understand which {name} is meant" + (f' by "{word}"' if word else "")
        return UNSURE if {slots.get("target.shape"), slots.get("target.colour")} == {OPEN} else ""


def best_reading(output: ReadOutputs, settings: ReaderSettings) -> tuple[str, dict[str, str], float]:
    """Kind, role -> value, and the log-odds of all of them together, of the first text of a batch."""
    chances = _log_softmax(output.kinds[0])
    kind = settings.kinds[int(chances.argmax())]
    total, slots = float(chances.max()), {}
    for role in settings.roles(kind):
        chances = _log_softmax(output.values[role][0])
        slots[role] = settings.values(role)[int(chances.argmax())]
        total += float(chances.max())
    wrong = max(1e-6, 1 - np.exp(total))
    return kind, slots, total - float(np.log(wrong))


def _log_softmax(logits: Any) -> np.ndarray:
    """Of logits (K,) of torch or numpy."""
    array = np.asarray(logits, np.float32)
    shifted = array - array.max()
    return shifted - np.log(np.exp(shifted).sum())


def fill(wording: str, slots: dict[str, str]) -> str:
    """A canonical wording with the values of its slots: ``{target}`` is *red mug*, *mug* or *red thing*."""

    def words(found: re.Match[str]) -> str:
        slot = found[1]
        if slot in ("colour", "direction"):
            return slots[slot]
        if slot == "shape":
            return slots["target.shape"]
        many = "s" if slot == "targets" else ""
        role = slot.removesuffix("s")
        colour, shape = slots[f"{role}.colour"], slots[f"{role}.shape"]
        return f"{'' if colour == OPEN else colour} {'thing' if shape == OPEN else shape}{many}".strip()

    return SLOT.sub(words, wording)


def pointed_word(text: str, encoding: Any, pointer: Any) -> str:
    """The whole word of the text that a pointer (L,) means most; "" for none."""
    start, end = encoding.offsets[int(pointer[: len(encoding.ids)].argmax())]
    if end <= start:
        return ""
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return text[start:end]
