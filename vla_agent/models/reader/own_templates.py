"""The wordings that a policy learned to act on: an instruction that is one of them passes unchanged, bit for bit.

The match is exact: the whole text, letter by letter, with names of shapes, colours and directions in the slots.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vla_agent.models.reader.reader_settings import ReaderSettings

_SLOT = re.compile(r"\{(thing|colour|direction)\}")


class OwnTemplates:
    """The templates of a reader's settings as one regular expression."""

    def __init__(self, settings: ReaderSettings) -> None:
        words = {name: _any(getattr(settings, name)) for name in ("shapes", "colours", "directions")}
        slots = {"thing": f"{words['colours']} {words['shapes']}", "colour": words["colours"]}
        slots["direction"] = words["directions"]
        parts = [_pattern(template, slots) for template in settings.templates]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def match(self, instruction: str) -> bool:
        """Whether the instruction is one of the templates."""
        return self._pattern is not None and self._pattern.fullmatch(instruction) is not None


def _pattern(template: str, slots: dict[str, str]) -> str:
    parts = _SLOT.split(template)  # text, slot, text, slot ...
    return "".join(slots[part] if k % 2 else re.escape(part) for k, part in enumerate(parts))


def _any(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, words))})"


def as_template(wording: str) -> str:
    """A task file's wording as a template: its roles become things, a zone is a colour.

    The slots ``{colour}``, ``{direction}`` and ``{zone}`` are choices; every other one is an object.
    """
    plain = wording.replace("{zone}", "{colour}")
    return re.sub(r"\{(?!colour\}|direction\})\w+\}", "{thing}", plain)


def templates_of(instructions: Iterable[str], settings: ReaderSettings) -> tuple[str, ...]:
    """The templates that make instructions pass: their things, colours and directions become slots."""
    shapes, colours, directions = (_any(getattr(settings, n)) for n in ("shapes", "colours", "directions"))
    found = []
    for instruction in instructions:
        text = re.sub(rf"\b{colours} {shapes}\b", "{thing}", instruction.replace("{", "").replace("}", ""))
        text = re.sub(rf"\b{directions}\b", "{direction}", text)
        found.append(re.sub(rf"\b{colours}\b", "{colour}", text))
    return tuple(dict.fromkeys(found))
