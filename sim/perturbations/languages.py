"""Instructions in other languages: ``sim/wordings/LANGUAGE.yaml`` holds words for objects and wordings for tasks.

A slot of a wording names a form: ``{target:dative}`` is an object in the case of that name in the file, ``{colour:f}``
the feminine form of a colour, ``{colour}en`` a colour that is the same in all genders, with an ending.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sim.tasks.task import TaskInstance
from sim.world.scene import COLOURS, SHAPES
from vla_agent.errors import TaskError

FOLDER = Path(__file__).parents[1] / "wordings"


class Colour:
    """The word for a colour; the format specification is a gender."""

    def __init__(self, forms: str | Mapping[str, str]) -> None:
        self.forms = forms

    def __format__(self, gender: str) -> str:
        return self.forms if isinstance(self.forms, str) else self.forms[gender]


class NamedObject:
    """The words for an object, by colour and shape; the format specification is a case."""

    def __init__(self, language: Mapping[str, Any], colour: str, shape: str) -> None:
        self.cases, self.colour = language["objects"], Colour(language["colours"][colour])
        ((self.gender, self.shape),) = language["shapes"][shape].items()

    def __format__(self, case: str) -> str:
        return self.cases[case][self.gender].format(colour=format(self.colour, self.gender), shape=self.shape)


def languages() -> tuple[str, ...]:
    """Codes of the languages that have wordings, such as "de"."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


def translations(task: TaskInstance, language: str) -> list[str]:
    """The task's instruction in every wording of a language; none where the file has no wordings for the family.

    Raises:
        TaskError: the file lacks a word or a form that a wording uses.
    """
    words = _read(language)
    if task.family not in words["wordings"]:
        return []
    slots: dict[str, Any] = {slot: _slot(words, text) for slot, text in task.bindings.items() if slot != "direction"}
    found = []
    for wording in words["wordings"][task.family]:
        try:
            if "direction" in task.bindings:
                slots["direction"] = words["directions"][task.bindings["direction"]].format(**slots)
            found.append(wording.format(**slots))
        except KeyError as error:
            raise TaskError(
                "a wording in another language cannot be filled in",
                file=FOLDER / f"{language}.yaml",
                key=f"wordings.{task.family}: {wording}",
                expected=", ".join(slots),
                found=str(error),
                remedy="add the word or the form, or take the wording out",
            ) from error
    return found


def _slot(words: Mapping[str, Any], text: str) -> Colour | NamedObject:
    first, _, second = text.partition(" ")
    return NamedObject(words, first, second) if second in SHAPES else Colour(words["colours"][first])


@cache
def _read(language: str) -> dict[str, Any]:
    file = FOLDER / f"{language}.yaml"
    words = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    for key, wanted in (("shapes", SHAPES), ("colours", tuple(COLOURS))):
        missing = [name for name in wanted if name not in words[key]]
        if missing:
            raise TaskError(
                "a language lacks words",
                file=file,
                key=key,
                expected=", ".join(wanted),
                found=f"none for {', '.join(missing)}",
                remedy="add them",
            )
    return words
