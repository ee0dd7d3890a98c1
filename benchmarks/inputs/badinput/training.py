"""Wrong recipes, wrong data for a training, and output folders that exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.inputs.badinput.case import Case, Mistake
from benchmarks.inputs.badinput.good_inputs import Good, write_dataset
from vla_agent.errors import ContractError, DatasetError, RecipeError

RECIPE = """\
name: small
data:
  demonstrations: [{dataset}]
pretrain: {{samples: 0}}
train_head: {{samples: 0}}
"""


def recipe(place: Path, *datasets: Path) -> Path:
    """A recipe that trains on ``datasets``."""
    file = place / "recipe.yaml"
    file.write_text(RECIPE.format(dataset=", ".join(map(str, datasets))), encoding="utf-8")
    return file


def _train(old: str = "", new: str = "", *options: str) -> Mistake:
    """Train from a recipe in which ``old`` was replaced by ``new``."""

    def mistake(place: Path, good: Good) -> list[str]:
        file = recipe(place, good.dataset)
        file.write_text(file.read_text().replace(old, new, 1))
        return ["train", str(file), "-o", str(place / "out"), *options]

    return mistake


def _no_recipe(place: Path, good: Good) -> list[str]:
    return ["train", str(place / "recipe.yaml"), "-o", str(place / "out")]


def _no_data(place: Path, good: Good) -> list[str]:
    return ["train", str(recipe(place, place / "nowhere")), "-o", str(place / "out")]


def _two_sizes(place: Path, good: Good) -> list[str]:
    cameras = tuple(replace(camera, height=64, width=64) for camera in good.contract.cameras)
    other = write_dataset(place / "small", replace(good.contract, cameras=cameras))
    return ["train", str(recipe(place, good.dataset, other)), "-o", str(place / "out")]


def _other_start(place: Path, good: Good) -> list[str]:
    cameras = tuple(replace(camera, height=64, width=64) for camera in good.contract.cameras)
    file = recipe(place, write_dataset(place / "small", replace(good.contract, cameras=cameras)))
    return ["train", str(file), "-o", str(place / "out"), "--set", f"start_from={good.policy}"]


def _taken(*options: str) -> Mistake:
    """Train into the folder of another training."""

    def mistake(place: Path, good: Good) -> list[str]:
        from vla_agent.training.recipe import load_recipe
        from vla_agent.training.training_folder import claim_folder

        file = recipe(place, good.dataset)
        claim_folder(load_recipe(file), place / "out")
        return ["train", str(file), "-o", str(place / "out"), *options]

    return mistake


CASES = (
    Case("recipe missing", _no_recipe, RecipeError, ("recipe.yaml",)),
    Case("recipe is no YAML", _train("name: small", "name: [small"), RecipeError, ("recipe.yaml:",)),
    Case(
        "unknown key in a recipe",
        _train("samples: 0", "sampels: 0"),
        RecipeError,
        ("recipe.yaml", "sampels", "samples"),
    ),
    Case("wrong value in a recipe", _train("samples: 0", "samples: many"), RecipeError, ("pretrain.samples", "many")),
    Case(
        "negative learning rate", _train("", "", "--set", "pretrain.learning_rate=-1"), RecipeError, ("learning_rate",)
    ),
    Case("setting without a value", _train("", "", "--set", "seed"), RecipeError, ("--set",)),
    Case("unknown setting", _train("", "", "--set", "train_head.epochs=3"), RecipeError, ("epochs", "samples")),
    Case("demonstrations missing", _no_data, DatasetError, ("nowhere",)),
    Case("demonstrations of two image sizes", _two_sizes, ContractError, ("cameras.front.height", "64", "96")),
    Case("demonstrations unlike the starting point", _other_start, ContractError, ("cameras.front.height", "64", "96")),
    Case("training into a taken folder", _taken(), RecipeError, ("--resume",)),
    Case("resumed with another recipe", _taken("--resume", "--set", "seed=7"), RecipeError, ("seed",)),
)
