"""What a training's newest checkpoint makes of a few frames: where it points, and the chunk that it predicts.

Only reads: a checkpoint that is being replaced is looked at again later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from vla_agent.errors import DatasetError
from vla_agent.files.bounded_reading import read_lines
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.build_policy import build_policy
from vla_agent.training.demonstrations import SIGHTED, Demonstrations, Questions, load_demonstrations
from vla_agent.training.one_run import STAGES
from vla_agent.training.recipe import Recipe, load_recipe
from vla_agent.view.policy_eyes import PolicyEyes
from vla_agent.view.source import Box, Picture, Plot

SAMPLES = 8  # frames that are looked at
HALF = 0.02  # of the image: half the side of the square around where it should point
ROLES = ("where to grasp, truly", "where to go, truly")


@dataclass(frozen=True)
class Sample:
    """A frame as the checkpoint sees it.

    ``chunk``: predicted beside recorded; empty before the head has learnt.  ``error``: mean absolute difference of the
    normalised chunk; None before.
    """

    pictures: tuple[Picture, ...]
    chunk: Plot
    instruction: str
    error: float | None


class CheckpointGlimpse:
    """A policy as the training builds it, with the averaged weights of its newest checkpoints.

    Attributes:
        where: what the frames are, in words.
        step: of the newest checkpoint; -1 before the first.

    Args:
        folder: of the run, with its ``recipe.yaml``.
        validation: a dataset that the training does not see; empty: frames of its own demonstrations.

    Raises:
        RecipeError, DatasetError, ContractError, CheckpointError: recipe or data cannot be read any more.
    """

    def __init__(self, folder: Path, validation: str = "") -> None:
        self._folder = folder
        self._recipe: Recipe = load_recipe(folder / "recipe.yaml")
        data = self._recipe.data
        own = self._demonstrations(data.demonstrations)
        self._policy: VLAPolicy = build_policy(self._recipe, own, prompts_of(data.questions))
        self._policy.doubt_with(None)
        self._policy.eval()
        self._demos = self._demonstrations((validation,)) if validation else own
        self.where = f"frames of {validation}" if validation else "frames of its own demonstrations"
        self._frames = np.linspace(0, len(self._demos) - 1, SAMPLES + 2).astype(int)[1:-1]
        self._loaded: dict[str, int] = {}  # stage -> step of its checkpoint
        self.step, self.stage = -1, ""

    def _demonstrations(self, folders: tuple[str, ...]) -> Demonstrations:
        recipe = self._recipe
        return load_demonstrations(folders, recipe.chunk_length, False, recipe.data.contract, recipe.data.image_size)

    def refresh(self) -> bool:
        """Load checkpoints that are new; whether there were some."""
        new = False
        for stage in STAGES:
            progress = self._folder / stage / "progress.json"
            module = self._module(stage)
            try:
                step = int(json.loads(progress.read_text())["step"])
                if module is None or self._loaded.get(stage) == step:
                    continue
                module.load_state_dict(load_file(self._folder / stage / "ema.safetensors"))
            except (OSError, ValueError, KeyError, RuntimeError):  # not there yet, or being replaced
                continue
            self._loaded[stage] = self.step = step
            self.stage, new = stage, True
        return new

    def _module(self, stage: str) -> torch.nn.Module | None:
        """What a stage's checkpoint holds; None where it is not shown."""
        policy = self._policy
        if not isinstance(policy.backbone, Backbone):
            return policy.head if stage == "head" else None
        backbone: dict[str, torch.nn.Module] = {"name_stem": policy.backbone.model, "pretrain": policy.backbone.model}
        return (backbone | {"head": policy.head, "end_to_end": policy}).get(stage)

    @property
    def acts(self) -> bool:
        """Whether the action head has learnt."""
        return bool({"head", "end_to_end"} & self._loaded.keys()) or bool(self._recipe.start_from)

    @torch.inference_mode()
    def look(self, number: int) -> Sample:
        """Look at one of the frames, 0 to `SAMPLES` - 1."""
        demos, frame = self._demos, int(self._frames[number])
        contract, policy = self._policy.contract, self._policy
        instruction = demos.instructions[demos.task[frame]]
        images = dict(zip(contract.camera_names, demos.images_of(np.array([frame]))[0], strict=True))
        policy.reset(instruction)
        eyes = PolicyEyes(policy)
        eyes.begin(instruction)
        seen = eyes.look(images)
        truth = demos.points[frame]
        pictures = tuple(
            Picture(name, p.image, p.maps, p.points, p.seen, _squares(truth[view]))
            for view, (name, p) in enumerate((name, seen[name]) for name in contract.camera_names)
        )
        if not self.acts:
            return Sample(pictures, Plot("predicted and true chunk", np.empty(0), {}), instruction, None)
        predicted = policy.act({"images": images, "state": demos.state[frame]})
        true, valid = demos.chunks(np.array([frame]), len(predicted))
        plot = _chunk_plot(predicted, np.where(valid[0, :, None] > 0, true[0], np.nan), contract.control_hz)
        return Sample(pictures, plot, instruction, self._error(predicted, true[0], valid[0]))

    def _error(self, predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> float | None:
        normalise = self._policy.action_normaliser
        a, b = (normalise(torch.from_numpy(np.asarray(rows, np.float32))).numpy() for rows in (predicted, true))
        return float(np.abs(a - b)[valid > 0].mean()) if (valid > 0).any() else None


def _chunk_plot(predicted: np.ndarray, true: np.ndarray, hz: float) -> Plot:
    lines = {}
    for column in range(min(3, predicted.shape[1])):
        lines[f"{column} predicted"] = predicted[:, column].astype(np.float64)
        lines[f"{column} true"] = true[:, column].astype(np.float64)
    return Plot("predicted and true chunk", np.arange(len(predicted)) / hz, lines)


def _squares(points: np.ndarray) -> tuple[Box, ...]:
    """Points (R, 3) u, v, inside as small squares; those that are not annotated or outside are left out."""
    return tuple(
        Box(role, (float(u) - HALF, float(v) - HALF, float(u) + HALF, float(v) + HALF))
        for role, (u, v, inside) in zip(ROLES, points, strict=False)
        if np.isfinite(inside) and inside > 0.5
    )


def prompts_of(folders: tuple[str, ...]) -> Questions | None:
    """The texts of generated images, which the tokenizer is made of, without the images; None without folders.

    Raises:
        DatasetError: a shard cannot be read.
    """
    if not folders:
        return None
    files = [file for folder in map(Path, folders) for file in sorted(folder.glob("*.jsonl"))]
    items: list[Mapping[str, Any]] = [item for file in files for _, item in read_lines(file, DatasetError)]
    empty = np.zeros(0)
    nothing: dict[str, list[np.ndarray]] = {name: [] for name in SIGHTED}
    return Questions(
        images=[],
        shard=empty,
        row=empty,
        prompts=[item["prompt"] for item in items],
        answers=[item["answer"] for item in items],
        points=empty,
        located=empty,
        asked=empty,
        **nothing,
    )
