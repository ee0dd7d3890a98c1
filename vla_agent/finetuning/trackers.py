"""Losses to Weights & Biases or trackio, through accelerate's trackers, in addition to TensorBoard."""

from __future__ import annotations

import importlib.util

from accelerate.tracking import GeneralTracker, TrackioTracker, WandBTracker

from vla_agent.errors import RecipeError
from vla_agent.finetuning.finetune_recipe import FineTune

KINDS: dict[str, type[GeneralTracker]] = {"wandb": WandBTracker, "trackio": TrackioTracker}


def require_trackers(names: tuple[str, ...]) -> None:
    """Raise where the package of a tracker is missing.

    Raises:
        RecipeError: naming the extra that installs it.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"{', '.join(missing)} is not installed",
            key="train.trackers",
            expected="the package of each tracker",
            found="none",
            remedy="pip install 'vla-agent[trackers]', or leave it out: TensorBoard is always there",
        )


def open_trackers(recipe: FineTune, names: tuple[str, ...]) -> list[GeneralTracker]:
    """Started trackers with the recipe as their configuration; the caller ends each with `GeneralTracker.finish`."""
    trackers = [KINDS[name](recipe.name) for name in names]
    for tracker in trackers:
        tracker.start()
        tracker.store_init_configuration({"recipe": recipe.model_dump_json()})
    return trackers
