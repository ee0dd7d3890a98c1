"""A training's folder: its recipe, which decides who may continue in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from vla_agent.errors import RecipeError
from vla_agent.files.recipe_file import Strict
from vla_agent.files.write_aside import file_aside

RECIPE = "recipe.yaml"


def refuse_other_training(
    recipe: Strict, folder: Path, resume: bool, ignore: tuple[str, ...] = (), may_grow: tuple[str, ...] = ()
) -> dict[str, tuple[Any, Any]]:
    """Raise where the folder holds a training that this run must not continue.

    Args:
        ignore: keys of the recipe that do not change the training.
        may_grow: keys, such as ``train.samples``, that may be larger than before: the training goes on for longer.

    Returns:
        The keys that have grown: before, now.

    Raises:
        RecipeError: ``resume`` is not set, or the training there is of another recipe.
    """
    file = folder / RECIPE
    if not file.is_file():
        return {}
    mine = _flat(recipe.written())
    theirs = _flat(_with_new_defaults(YAML(typ="safe").load(file.read_text()), type(recipe)))
    keys = {k for k in mine.keys() | theirs.keys() if k.partition(".")[0] not in ignore}
    changed: dict[str, tuple[Any, Any]] = {
        k: (theirs.get(k), mine.get(k)) for k in sorted(keys) if mine.get(k) != theirs.get(k)
    }
    grown = {k: (old, new) for k, (old, new) in changed.items() if k in may_grow and old < new}
    different = [k for k in changed if k not in grown]
    if resume and not different:
        return grown
    raise RecipeError(
        "the folder holds a training of another recipe" if resume else "the folder already holds a training",
        file=file,
        key=", ".join(different) or None,
        expected="an empty folder, or --resume with the same recipe",
        found="a training" + (f" that differs in {', '.join(different)}" if different else " of this recipe"),
        remedy="give another -o" if different else "add --resume to continue, or give another -o",
    )


def claim_folder(recipe: Strict, folder: Path) -> None:
    """Write the recipe into the folder: from now on another training is refused there."""
    with file_aside(folder / RECIPE) as aside, aside.open("w") as f:
        YAML().dump(recipe.written(), f)


def _flat(nested: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested keys by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {above + key: value}
    return found


def _with_new_defaults(written: Any, model: type[Strict]) -> dict[str, Any]:
    """A written recipe with the defaults of settings that were added since: they do not make it another recipe."""
    try:
        return model.model_validate(written).written()
    except ValidationError:
        return written if isinstance(written, dict) else {}
