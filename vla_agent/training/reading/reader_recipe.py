"""The recipe of a reader: every setting of its training, in one YAML file with a key ``reader``."""

from __future__ import annotations

from os import PathLike

from pydantic import Field

from vla_agent.errors import RecipeError
from vla_agent.files.bounded_yaml import read_yaml
from vla_agent.files.recipe_file import Strict, read_recipe
from vla_agent.files.shipped import find_shipped
from vla_agent.training.recipe import Stage

EXAMPLE = "policies/reader.yaml"


class TrainReader(Stage):
    """How the reader learns from generated text."""

    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1.5e-4, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(60, ge=0)
    ema: float = Field(0.99, ge=0, lt=1)
    checkpoint_minutes: float = Field(5.0, gt=0)
    frozen_layers: int = Field(0, ge=0, description="lowest layers of the encoder that stay as they are")
    calibrate: int = Field(1500, ge=10, description="texts in wordings that were held back, for the confidence")
    refuse_below: float = Field(0.4, ge=0, le=1, description="confidence below which an instruction is refused")


class Fractions(Strict):
    """Fractions of the texts that are drawn, each from 0 to 1."""

    templates: float = Field(0.15, ge=0, le=1, description="in the policy's own wordings, with synonyms and errors")
    others: float = Field(0.45, ge=0, le=1, description="of the rest, in languages after the first")
    refused: float = Field(0.12, ge=0, le=1, description="what nobody can do here, or what must not be done")
    questions: float = Field(0.22, ge=0, le=1, description="questions of vla-agent ask")
    unknown: float = Field(0.07, ge=0, le=1, description="with a thing, colour or direction that the world lacks")
    vague: float = Field(0.06, ge=0, le=1, description="with a thing whose shape or colour is not said")
    typos: float = Field(0.35, ge=0, le=1, description="with typing errors in one to three words")


class ReaderRecipe(Strict):
    """All settings of a reader's training."""

    name: str
    seed: int = 0
    start_from: str = Field("policies/tabletop-nano", description="policy folder that gets the reader")
    encoder: str = Field(
        description="pretrained text encoder: a folder, or hf://OWNER/NAME; empty: the policy's own reader"
    )
    grammars: tuple[str, ...] = Field(
        ("en", "de", "es", "fr", "ru"), description="languages that come with the package, or paths of YAML files"
    )
    tasks: tuple[str, ...] = Field(
        (), description="families whose wordings pass unchanged: names or task files; empty: the tabletop suite"
    )
    fractions: Fractions = Fractions.model_validate({})
    reader: TrainReader


def is_reader_recipe(path: str | PathLike[str]) -> bool:
    """Whether a recipe's file has the key ``reader``; False where it cannot be read: the other kind says why."""
    try:
        data = read_yaml(find_shipped(path), RecipeError)
    except Exception:  # noqa: BLE001 - whatever is wrong with the file is said by its proper reader
        return False
    return isinstance(data, dict) and "reader" in data


def load_reader_recipe(path: str | PathLike[str], overrides: tuple[str, ...] = ()) -> ReaderRecipe:
    """Read a reader's recipe and apply ``key.sub=value`` overrides.

    Raises:
        RecipeError: the file is missing, not YAML, or has a wrong key or value; names file, line, key and valid names.
    """
    return read_recipe(path, overrides, ReaderRecipe, EXAMPLE)
