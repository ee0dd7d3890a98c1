"""Recipes: YAML files whose every key is checked, with overrides from the command line."""

from __future__ import annotations

import difflib
from os import PathLike
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml.error import YAMLError

from vla_agent.errors import RecipeError
from vla_agent.files.bounded_yaml import parse_yaml, read_yaml
from vla_agent.files.shipped import find_shipped


class Strict(BaseModel):
    """A part of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def written(self) -> dict[str, Any]:
        """As it is kept beside what it made."""
        return self.model_dump(mode="json")


R = TypeVar("R", bound=Strict)


def read_recipe(path: str | PathLike[str], overrides: tuple[str, ...], model: type[R], example: str) -> R:
    """Read a recipe of any kind (``model``) and apply ``key.sub=value`` overrides.

    Raises:
        RecipeError: the file is missing, not YAML, or has a wrong key or value; names file, line, key and valid names.
    """
    file = find_shipped(path)
    try:
        data = read_yaml(file, RecipeError, "rt")
    except OSError as error:
        raise RecipeError(
            "there is no such recipe",
            file=file,
            expected=f"a YAML file such as {example}",
            found=error.strerror or error,
            remedy="check the path",
        ) from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise RecipeError(
            "the recipe is not valid YAML",
            file=f"{file}:{mark.line + 1}" if mark else file,
            expected="YAML: key: value",
            found=getattr(error, "problem", str(error)),
            remedy="fix the line",
        ) from error
    if not isinstance(data, dict):
        raise RecipeError(
            "the recipe is not a mapping",
            file=file,
            expected=", ".join(model.model_fields),
            found=type(data).__name__,
            remedy=f"start from {example}",
        )
    return check_recipe(data, str(file), overrides, model)


def check_recipe(data: Any, file: str, overrides: tuple[str, ...], model: type[R]) -> R:
    """A recipe from a mapping, with the overrides applied; ``file`` is where the mapping comes from.

    Raises:
        RecipeError: a wrong key or value.
    """
    for override in overrides:
        _apply(data, override)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(k) for k in first["loc"]] or [next(iter(model.model_fields))]
        names = _valid_names(first["loc"], model)
        near = difflib.get_close_matches(keys[-1], names, n=1)
        raise RecipeError(
            "the recipe has a wrong key or value",
            file=f"{file}{_line(data, first['loc'])}",
            key=".".join(keys),
            expected=", ".join(names) if first["type"] == "extra_forbidden" else first["msg"],
            found=", ".join(map(str, first["input"])) if isinstance(first["input"], dict) else str(first["input"]),
            remedy=f"did you mean {near[0]}?" if near and first["type"] == "extra_forbidden" else "fix the value",
        ) from error


def _apply(data: Any, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise RecipeError(
            "an override is not key=value",
            key="--set",
            expected="key.sub=value",
            found=override,
            remedy="write --set pretrain.samples=1000",
        )
    *path, last = key.split(".")
    for part in path:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise RecipeError(
                "an override goes through a value that is not a mapping",
                key=key,
                expected="a mapping",
                found=part,
                remedy="check the key",
            )
    try:
        data[last] = parse_yaml(value, f"--set {key}"[:200], RecipeError, "rt")
    except YAMLError as error:
        raise RecipeError(
            "the value of an override is not YAML",
            key=key,
            expected="a number, a text, or a list such as [1, 2]",
            found=value[:200],
            remedy="quote it",
        ) from error


def _valid_names(location: tuple[Any, ...], model: Any) -> list[str]:
    for part in location[:-1]:
        found = getattr(model, "model_fields", {}).get(part)
        model = found.annotation if found else model
    return list(getattr(model, "model_fields", {}))


def _line(data: Any, location: tuple[Any, ...]) -> str:
    line = ""
    for part in location:
        try:
            line = f":{data.lc.value(part)[0] + 1}" if isinstance(part, str) else line
            data = data[part]
        except (KeyError, AttributeError, TypeError, IndexError):
            break
    return line
