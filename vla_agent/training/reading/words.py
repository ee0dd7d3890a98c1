"""More words for a grammar, from public lists: some to learn, and some kept back for the calibration.

A file of words has the sections of a grammar that are lists of words (`Words`), and the same again in ``held_back``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vla_agent.errors import RecipeError
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.recipe_file import Strict
from vla_agent.training.reading.grammar_file import Grammar

BARE = 3  # for this many added words for a shape or colour its own name is added once more
Table = dict[str, tuple[str, ...]]


class Words(Strict):
    """Words by section and name, as in a grammar."""

    shapes: Table = {}
    colours: Table = {}
    lists: Table = {}
    unknown_things: tuple[str, ...] = ()
    unknown_colours: tuple[str, ...] = ()


class WordsFile(Words):
    """Words to learn; ``held_back`` has those that no training text may have."""

    held_back: Words = Words()


def read_words(file: Path) -> WordsFile:
    """A file of words.

    Raises:
        RecipeError: it is missing, no YAML, or has a wrong key.
    """
    try:
        return WordsFile.model_validate(read_yaml(file, RecipeError))
    except (OSError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        raise RecipeError(
            "the words of a grammar cannot be read",
            file=file,
            key=".".join(map(str, first["loc"])) if first else None,
            expected=first["msg"] if first else "a YAML file such as en-words.yaml",
            found=str(first["input"])[:200] if first else error,
            remedy="fix the key, or leave out the grammar's key words",
        ) from error


def with_words(grammar: Grammar, words: Words) -> Grammar:
    """The grammar with more words; a name of shapes, colours or lists that it lacks is left out."""
    changed: dict[str, Any] = {
        "shapes": _more(grammar.shapes, words.shapes, named=True),
        "colours": _more(grammar.colours, words.colours, named=True),
        "lists": _more(grammar.lists, words.lists, named=False),
        "unknown_things": (*grammar.unknown_things, *words.unknown_things),
        "unknown_colours": (*grammar.unknown_colours, *words.unknown_colours),
    }
    return grammar.model_copy(update=changed)


def _more(own: Mapping[str, tuple[str, ...]], more: Mapping[str, tuple[str, ...]], named: bool) -> Table:
    """Lists with more words; ``named``: the list's name is a word too, and stays common."""
    added = {name: more.get(name, ()) for name in own}
    return {
        name: (*words, *added[name], *([name] * (len(added[name]) // BARE) if named else words if added[name] else ()))
        for name, words in own.items()
    }
