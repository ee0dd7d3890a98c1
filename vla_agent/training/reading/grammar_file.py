"""A grammar file: words and wordings of one language, read and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from vla_agent.errors import RecipeError
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.recipe_file import Strict

FOLDER = Path(__file__).parent / "grammar"  # the shipped ones
Forms = dict[str, dict[str, tuple[str, ...]]]  # form -> gender ("any" for all) -> templates


class Kind(Strict):
    """Wordings of one family of tasks, or of one form of question."""

    wordings: tuple[str, ...]
    canonical: str = Field("", description="the policy's own wording; in one file of the training")


class Grammar(Strict):
    """One language's file; docs/instructions.md explains the keys."""

    language: str
    cases: tuple[str, ...] = ("nom",)
    colour_forms: tuple[str, ...] = ("any",)
    objects: Forms
    open_shape: Forms
    open_colour: Forms
    shapes: dict[str, tuple[str, ...]]
    colours: dict[str, tuple[str, ...]]
    directions: dict[str, tuple[str, ...]]
    unknown_directions: tuple[str, ...] = ()
    unknown_things: tuple[str, ...] = ()
    unknown_colours: tuple[str, ...] = ()
    synonyms: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    fillers: tuple[str, ...] = ()
    lists: dict[str, tuple[str, ...]] = {}
    families: dict[str, Kind] = {}
    questions: dict[str, Kind] = {}
    others: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()
    words: str = Field("", description="a file beside this one with more words (words.py)")
    glosses: dict[str, tuple[str, ...]] = Field({}, description="English word -> words that begin with its meaning")

    @property
    def genders(self) -> bool:
        """Whether nouns are written with a gender before them."""
        return any(gender != "any" for genders in self.objects.values() for gender in genders)

    def all_words(self) -> tuple[str, ...]:
        """The words for shapes, colours and directions."""
        return tuple(w for table in (self.shapes, self.colours, self.directions) for ws in table.values() for w in ws)

    def nouns(self, entry: str) -> tuple[str, dict[str, str]]:
        """Gender, and case -> form, of a noun's entry: ``f Kugel``, ``m куб куб куба кубом``, ``water_bottle``."""
        gender, _, rest = entry.partition(" ") if self.genders else ("any", "", entry)
        forms = (
            [form.replace("_", " ") for form in rest.split(" ")] if len(self.cases) > 1 else [rest.replace("_", " ")]
        )
        return gender, {case: forms[min(k, len(forms) - 1)] for k, case in enumerate(self.cases)}

    def colour(self, entry: str) -> dict[str, str]:
        """Form -> word, of a colour's entry: ``rot roten rote rotes roter``; one word for all of them."""
        if len(self.colour_forms) == 1:
            return {self.colour_forms[0]: entry.replace("_", " ")}
        forms = entry.split(" ")
        return {form: forms[min(k, len(forms) - 1)] for k, form in enumerate(self.colour_forms)}


def read_grammar(file: Path) -> Grammar:
    """A grammar file.

    Raises:
        RecipeError: it is missing, no YAML, has a wrong key, or a wording names a list that it lacks.
    """
    try:
        grammar = Grammar.model_validate(read_yaml(file, RecipeError))
    except (OSError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        raise RecipeError(
            "the grammar cannot be read",
            file=file,
            key=".".join(map(str, first["loc"])) if first else None,
            expected=first["msg"] if first else "a YAML file such as those of vla_agent/training/reading/grammar",
            found=str(first["input"])[:200] if first else error,
            remedy="fix the key; docs/instructions.md lists all of them",
        ) from error
    kinds: Mapping[str, Any] = grammar.families | grammar.questions
    wordings = [w for kind in kinds.values() for w in kind.wordings] + [*grammar.others, *grammar.unsafe]
    for wording in wordings:
        for name in re.findall(r"<([A-Z]+)>", wording):
            if name not in grammar.lists:
                raise RecipeError(
                    "a wording names a list that the grammar lacks",
                    file=file,
                    key=f"lists.{name}",
                    expected=", ".join(grammar.lists),
                    found=wording,
                    remedy="add the list, or take another",
                )
    return grammar
