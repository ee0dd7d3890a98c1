"""The recipe of a fine-tuning: every setting, in one YAML file or from the command line."""

from __future__ import annotations

from os import PathLike
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vla_agent.adapters.adapter_settings import AdapterSettings
from vla_agent.files.recipe_file import Strict, check_recipe, read_recipe
from vla_agent.training.recipe import Augment, ScoredData, TrainHead

EXAMPLE = "policies/finetune-lora.yaml"


class TuneData(ScoredData):
    """The datasets.  A recipe may also list them: ``data: [{folder: a, weight: 3}, {folder: b, weight: 1}]``."""

    demonstrations: tuple[str, ...] = Field(description="LeRobotDataset folders, read in this order")
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        (), description="how often each folder is drawn, relative to the others; empty: all frames equally often"
    )
    episodes: int = Field(0, ge=0, description="use only the first n episodes of all; 0 takes every one")

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        if not isinstance(given, (list, tuple)):
            return given
        for entry in given:
            if not isinstance(entry, dict) or not {"folder"} <= set(entry) <= {"folder", "weight"}:
                raise ValueError(f"a list of data holds {{folder: DIR, weight: NUMBER}}, not {entry}")
        return {"demonstrations": [e["folder"] for e in given], "weights": [e.get("weight", 1.0) for e in given]}

    @model_validator(mode="after")
    def _one_each(self) -> TuneData:
        if self.weights and len(self.weights) != len(self.demonstrations):
            raise ValueError(f"{len(self.weights)} weights for {len(self.demonstrations)} folders: one each, or none")
        return self


class Tune(TrainHead):
    """Optimiser, length and batches; see `vla_agent.training.recipe.TrainHead` for the inherited settings."""

    samples: int = Field(20_000, ge=0)
    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(20, ge=0)
    ema: float = Field(0.99, ge=0, lt=1)
    checkpoint_minutes: float = Field(1.0, gt=0)
    accumulate: int = Field(1, ge=1, description="pieces of the batch that a process computes one after the other")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16: mixed, the weights stay fp32")
    checkpointing: bool = Field(False, description="recompute activations in the backward pass (language models)")
    sharded: bool = Field(False, description="each of several processes keeps a part of the weights (FSDP)")
    base_weights: Literal["float32", "int8", "int4"] = Field(
        "float32", description="type of a pretrained vision-language model's frozen weights (QLoRA); int4 needs a GPU"
    )
    trackers: tuple[Literal["wandb", "trackio"], ...] = Field((), description="in addition to TensorBoard")
    pointing: float = Field(1.0, ge=0, description="weight of the pointing losses, where backbone weights are trained")


class Robust(Strict):
    """Options against forgetting and for robustness; each is off at 0 (``wise`` at 1)."""

    consistency: float = Field(0.0, ge=0, description="weight of the distance to the frozen base (CoPrompt)")
    trust_region: float = Field(0.0, ge=0, description="size of the sharpness-aware step (TRAM); doubles the cost")
    wise: float = Field(1.0, ge=0, le=1, description="fraction of the tuned weights in the result (WiSE-FT)")
    wordings: bool = Field(False, description="also train on instructions in other words")
    augment: Augment = Augment.model_validate({})


class Compare(Strict):
    """The closed-loop evaluation of base and tuned policy on the same seeds, after the training."""

    episodes: int = Field(0, ge=0, description="per family and policy; 0 leaves the comparison out")
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=1)
    new: tuple[str, ...] = Field(
        (), description="families that were learned; empty: those of the first folder of demonstrations"
    )
    old: tuple[str, ...] = Field((), description="families to be remembered; empty: all others of the suite")
    tasks: tuple[str, ...] = Field(
        (), description="task files outside the suites; learned families unless old names them (docs/finetuning.md)"
    )
    suite: str = "tabletop"


class FineTune(Strict):
    """All settings of a fine-tuning."""

    name: str = "finetune"
    seed: int = 0
    base: str = Field(description="the policy to start from: a folder or hf://OWNER/NAME")
    from_scratch: bool = Field(False, description="start from untrained weights of the base's sizes: a control")
    data: TuneData
    adapter: AdapterSettings = AdapterSettings.model_validate({})
    train: Tune = Tune.model_validate({})
    robust: Robust = Robust.model_validate({})
    compare: Compare = Compare.model_validate({})


def load_finetune(path: str | PathLike[str], overrides: tuple[str, ...] = ()) -> FineTune:
    """Read a recipe and apply ``key.sub=value`` overrides.

    Raises:
        RecipeError: naming file, line, key and the valid names.
    """
    return read_recipe(path, overrides, FineTune, EXAMPLE)


def make_finetune(settings: dict[str, Any], overrides: tuple[str, ...] = ()) -> FineTune:
    """A recipe from the command line's options.

    Raises:
        RecipeError: a wrong override.
    """
    return check_recipe(settings, "the command line", overrides, FineTune)
