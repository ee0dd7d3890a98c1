"""A whole training from a recipe: data, tokenizer, backbone, features, head, policy folder."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from rich.console import Console
from ruamel.yaml import YAML
from torch import nn
from transformers import ViTImageProcessorPil

from vla_agent.errors import RecipeError
from vla_agent.files.policy_folder import find_folder
from vla_agent.files.recipe_file import Strict
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_vlm import PointingVLM
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone, VLMOptions
from vla_agent.models.backbones.pretrained.pretrained_files import OPTIONS, open_vlm
from vla_agent.models.heads.build_head import HeadConfig
from vla_agent.models.weight_interpolation import interpolate
from vla_agent.policy.checkpoint import load_checkpoint
from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.sources import contract_of
from vla_agent.training.demonstrations import Demonstrations, Questions, load_demonstrations, load_questions
from vla_agent.training.loop import Losses, load_ema, stage_done, train_stage
from vla_agent.training.loss_curve import draw_curve
from vla_agent.training.recipe import Recipe, Stage
from vla_agent.training.stages.head_stage import HeadBatches, choose_frames, compute_features
from vla_agent.training.stages.pointing_stage import PretrainBatches, location_errors
from vla_agent.training.starting_backbone import fitting_backbone
from vla_agent.training.tokenizer import build_tokenizer

STAGES = ("name_stem", "pretrain", "head")
console = Console()


def train(recipe: Recipe, folder: Path, *, resume: bool = False) -> Path:
    """Run the recipe's stages in ``folder`` and write ``folder/policy``.

    Raises:
        RecipeError: ``folder`` holds a training already and ``resume`` is not set, or it is of another recipe.
        Interrupted: the run was stopped; ``resume=True`` goes on.
        DatasetError, ContractError: the data is missing, damaged or does not fit together.
    """
    refuse_taken(recipe, folder, resume)
    begun = time.time()
    torch.manual_seed(recipe.seed)
    demos = load_demonstrations(recipe.data.demonstrations, recipe.chunk_length)
    questions = load_questions(recipe.data.questions) if recipe.data.questions else None
    policy = build(recipe, demos, questions)
    start = {k: v.clone() for k, v in policy.state_dict().items()} if recipe.keep_start else {}
    claim(recipe, folder)  # only now: wrong data must not leave a folder that refuses the next try
    counts = policy.parameter_counts()
    console.print(
        f"{len(demos):,} frames of {int(demos.episode.max()) + 1:,} episodes, "
        f"{len(questions) if questions else 0:,} questions; "
        f"{counts['backbone'] / 1e6:.2f} M parameters in the backbone, {counts['head'] / 1e6:.2f} M in the head"
    )

    def stage(name: str, module: nn.Module, losses: Callable[[torch.Generator], Losses], settings: Stage) -> None:
        if stage_done(folder, name, settings):
            load_ema(folder, name, module)
        else:
            train_stage(name, module, losses, settings, recipe.seed + STAGES.index(name), folder, resume=resume)

    if isinstance(policy.backbone, Backbone):
        with_channels_last = policy.backbone.model.to(memory_format=torch.channels_last)
        batches = PretrainBatches(policy.backbone, questions, demos, recipe.pretrain)
        if recipe.name_stem.samples and questions is not None:
            stage("name_stem", with_channels_last, partial(batches.naming_losses, recipe.name_stem), recipe.name_stem)
        if recipe.pretrain.samples:
            stage("pretrain", with_channels_last, batches.losses, recipe.pretrain)
    if recipe.train_head.samples:
        frames = choose_frames(demos, recipe.train_head)
        learning = isinstance(policy.backbone, VLMBackbone) and policy.backbone.learns
        keep = recipe.train_head.keep_features and not learning
        features = compute_features(policy.backbone, demos, frames, folder / "features") if keep else None
        acting = HeadBatches(policy, demos, frames, features, recipe.train_head)
        stage("head", policy if learning else policy.head, acting.losses, recipe.train_head)
    if recipe.keep_start:
        policy.load_state_dict(interpolate(start, policy.state_dict(), 1 - recipe.keep_start))
    policy.save(folder / "policy")
    _describe(recipe, demos, policy, folder, begun)
    console.print(f"policy: {folder / 'policy'}    next: vla-agent eval {folder / 'policy'}")
    return folder / "policy"


def build(recipe: Recipe, demos: Demonstrations, questions: Questions | None) -> VLAPolicy:
    """An untrained policy of the recipe's sizes with a tokenizer for this data, or the one to start from."""
    if recipe.start_from:
        contract_of(recipe.start_from).require(demos.contract, recipe.start_from, "the demonstrations")
        folder = find_folder(recipe.start_from) / "backbone"
        backbone: Backbone | VLMBackbone | None = None  # None: the folder's own
        fresh: list[str] = []
        if not (folder / OPTIONS).is_file():
            backbone, fresh = fitting_backbone(folder, recipe.backbone)
        if fresh:
            console.print(f"new, untrained parts of the backbone: {', '.join(fresh)}")
        policy = load_checkpoint(find_folder(recipe.start_from), backbone)
        head = recipe.head.config()
        serving: dict[str, Any] = {k: getattr(policy.head.config, k) for k in ("serve_steps", "sampler", "guidance")}
        other = "head" in recipe.model_fields_set and replace(head, **serving) != policy.head.config
        if recipe.fresh_head or other:
            console.print("the head begins untrained" + (": it is another one than that of start_from" * other))
            policy = with_new_head(policy, head)
        policy.requires_grad_(True)
        if isinstance(policy.backbone, VLMBackbone):
            policy.backbone.freeze()
        return policy
    backbone = pretrained(recipe) if recipe.vlm.model else untrained(recipe, demos, questions)
    policy = VLAPolicy(demos.contract, backbone, recipe.head.config(), recipe.execute)
    policy.action_normaliser.fit_range(demos.action[demos.clean])
    policy.state_normaliser.fit_moments(demos.state)
    return policy


def with_new_head(policy: VLAPolicy, head: HeadConfig) -> VLAPolicy:
    """The policy's backbone, contract and normalisers with an untrained head."""
    fresh = VLAPolicy(policy.contract, policy.backbone, head, policy.execute)
    for name in ("state_normaliser", "action_normaliser"):
        getattr(fresh, name).load_state_dict(getattr(policy, name).state_dict())
    return fresh


def pretrained(recipe: Recipe) -> VLMBackbone:
    """The pretrained vision-language model that the recipe names."""
    return open_vlm(recipe.vlm.model, VLMOptions(**recipe.vlm.model_dump(exclude={"model"})))


def untrained(recipe: Recipe, demos: Demonstrations, questions: Questions | None) -> Backbone:
    """A small backbone of the recipe's sizes with a tokenizer for this data."""
    texts = demos.instructions + (questions.prompts + questions.answers if questions else [])
    tokenizer = build_tokenizer(texts)
    camera = demos.contract.cameras[0]
    config = PointingVLMConfig(
        vocab_size=len(tokenizer),
        num_views=len(demos.contract.cameras),
        image_size=(camera.height, camera.width),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **recipe.backbone.model_dump(),
    )
    processor = ViTImageProcessorPil(
        size={"height": camera.height, "width": camera.width}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    return Backbone(PointingVLM(config), tokenizer, processor)


def refuse_taken(recipe: Strict, folder: Path, resume: bool) -> None:
    """Raise where the folder holds a training that this is not meant to go on with.

    Raises:
        RecipeError: ``resume`` is not set, or the training there is of another recipe.
    """
    kept = folder / "recipe.yaml"
    if kept.is_file():
        mine, theirs = (
            recipe.model_dump(mode="json"),
            _as_written_now(YAML(typ="safe").load(kept.read_text()), type(recipe)),
        )
        different = sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k))
        if not resume or different:
            raise RecipeError(
                "the folder holds a training already"
                if not resume
                else "the folder holds a training of another recipe",
                file=kept,
                key=", ".join(different) or None,
                expected="an empty folder, or --resume with the same recipe",
                found="a training" + (f" that differs in {', '.join(different)}" if different else " of this recipe"),
                remedy="add --resume to go on, or give another -o" if not different else "give another -o",
            )


def _as_written_now(kept: Any, kind: type[Strict]) -> dict[str, Any]:
    """A kept recipe with the settings that have come since at their defaults: they do not make it another one."""
    try:
        return kind.model_validate(kept).model_dump(mode="json")
    except ValidationError:
        return kept if isinstance(kept, dict) else {}


def claim(recipe: Strict, folder: Path) -> None:
    """Take the folder: leave the recipe in it."""
    folder.mkdir(parents=True, exist_ok=True)
    yaml = YAML()
    aside = folder / "recipe.yaml.part"
    with aside.open("w") as f:
        yaml.dump(recipe.model_dump(mode="json"), f)
    aside.replace(folder / "recipe.yaml")


def _describe(recipe: Recipe, demos: Demonstrations, trained: VLAPolicy, folder: Path, begun: float) -> None:
    """Leave recipe, data hashes, versions, cost and curve beside the weights."""
    policy, counts = folder / "policy", trained.parameter_counts()
    shutil.copy(folder / "recipe.yaml", policy / "recipe.yaml")
    seconds = {}
    for name in STAGES:
        log = folder / f"{name}.jsonl"
        if log.is_file():
            seconds[name] = json.loads(log.read_text().splitlines()[-1])["seconds"]
            shutil.copy(log, policy / log.name)
    backbone = load_checkpoint(policy).backbone
    description: dict[str, Any] = {
        "parameters": {**counts, "trained": _trained(recipe, trained), "in_all": sum(counts.values())},
        "seconds": {**seconds, "this_run": round(time.time() - begun, 1)},
        "data": {"frames": len(demos), "episodes": int(demos.episode.max()) + 1, "sha256": demos.hashes},
        "versions": {p: version(p) for p in ("torch", "transformers", "diffusers", "numpy", "mujoco")},
        "hardware": {"machine": platform.machine(), "system": platform.platform(), "threads": torch.get_num_threads()},
    }
    if isinstance(backbone, Backbone):
        errors = location_errors(backbone, demos, _some_frames(demos))
        within = {"k": int((errors[:, 0] < 0.02).sum()), "n": len(errors)}
        description["target_located_within_2cm_on_training_frames"] = within
    (policy / "training.json").write_text(json.dumps(description, indent=2) + "\n")
    draw_curve([folder / f"{name}.jsonl" for name in STAGES], policy / "curve.png")


def _trained(recipe: Recipe, policy: VLAPolicy) -> int:
    """How many parameters the recipe's stages train: a backbone that no stage trains stays as it was."""
    small = isinstance(policy.backbone, Backbone)
    stages = recipe.pretrain.samples + recipe.name_stem.samples if small else recipe.train_head.samples
    learning = [p for p in policy.backbone.parameters() if p.requires_grad] if stages else []
    return sum(p.numel() for p in [*learning, *(policy.head.parameters() if recipe.train_head.samples else ())])


def _some_frames(demos: Demonstrations, count: int = 512) -> np.ndarray:
    return np.sort(np.random.default_rng(0).choice(len(demos), min(count, len(demos)), replace=False))
