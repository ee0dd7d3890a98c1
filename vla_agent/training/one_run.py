"""One run of a training, on data that is there: tokenizer, backbone, features, head, policy folder."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from sim.world.scene import COLOURS, SHAPES
from vla_agent.errors import DatasetError, RecipeError
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.sight import Sight, SightSizes
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.weight_interpolation import interpolate
from vla_agent.policy.checkpoint import load_checkpoint
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.build_policy import build_policy
from vla_agent.training.demonstrations import Demonstrations, Questions, load_demonstrations, load_questions
from vla_agent.training.loop.stage_checkpoint import load_ema, stage_done
from vla_agent.training.loop.stage_run import StageRun
from vla_agent.training.loop.train_stage import Losses, train_stage
from vla_agent.training.loss_curve import draw_curve
from vla_agent.training.parallel.processes import single_process
from vla_agent.training.recipe import Recipe, Stage
from vla_agent.training.scores.score_file import episode_weights
from vla_agent.training.stages.end_to_end_stage import EndToEndBatches, EndToEndLosses
from vla_agent.training.stages.head_stage import HeadBatches, choose_frames, compute_features
from vla_agent.training.stages.pointing_stage import PretrainBatches, location_errors
from vla_agent.training.stages.sight_stage import SightBatches
from vla_agent.training.training_folder import claim_folder, refuse_other_training

STAGES = ("name_stem", "pretrain", "head", "sight", "end_to_end")  # a stage's place is part of its seed
StageLosses = Callable[[torch.Generator], Losses]
RunStage = Callable[[str, nn.Module, StageLosses, Stage], None]
console = Console()


def run_stages(recipe: Recipe, folder: Path, *, resume: bool = False, ignore: tuple[str, ...] = ()) -> Path:
    """Run the recipe's own stages in ``folder`` and write ``folder/policy``.

    Args:
        ignore: keys of the recipe in which the run there may differ.

    Raises:
        RecipeError: ``folder`` already holds a training and ``resume`` is not set, or it is of another recipe.
        Interrupted: the run was stopped; ``resume=True`` continues it.
        DatasetError, ContractError: the data is missing, damaged or does not fit together.
    """
    refuse_other_training(recipe, folder, resume, ignore)
    started = time.time()
    torch.manual_seed(recipe.seed)
    annotated = bool(recipe.pretrain.samples) and not recipe.vlm.model  # the only stage that cannot do without
    data = recipe.data
    demos = load_demonstrations(data.demonstrations, recipe.chunk_length, annotated, data.contract, data.image_size)
    questions = load_questions(recipe.data.questions) if recipe.data.questions else None
    policy = build_policy(recipe, demos, questions)
    doubter = policy.doubter
    policy.doubt_with(None)  # while it learns
    start = {k: v.clone() for k, v in policy.state_dict().items()} if recipe.keep_start else {}
    claim_folder(recipe, folder)  # only now: wrong data must not leave a folder that refuses the next try
    counts = policy.parameter_counts()
    console.print(
        f"{len(demos):,} frames of {demos.episode_count:,} episodes, "
        f"{len(demos.instructions):,} instructions, {demos.pointed.mean():.0%} of the frames annotated, "
        f"{len(questions) if questions else 0:,} questions; "
        f"{counts['backbone'] / 1e6:.2f} M parameters in the backbone, {counts['head'] / 1e6:.2f} M in the head"
    )

    def run_stage(name: str, module: nn.Module, losses: StageLosses, settings: Stage) -> None:
        if stage_done(folder, name, settings):
            load_ema(folder, name, module)
        else:
            train_stage(StageRun(name, folder, _seed(recipe, name), resume), module, losses, settings)

    if isinstance(policy.backbone, Backbone):
        model = policy.backbone.model.to(memory_format=torch.channels_last)
        batches = PretrainBatches(policy.backbone, questions, demos, recipe.pretrain)
        if recipe.name_stem.samples and questions is not None:
            run_stage("name_stem", model, partial(batches.naming_losses, recipe.name_stem), recipe.name_stem)
        if recipe.pretrain.samples:
            run_stage("pretrain", model, batches.losses, recipe.pretrain)
    by_episode = episode_weights(recipe.data, demos, recipe.data.demonstrations)
    if recipe.end_to_end.samples:
        run = StageRun("end_to_end", folder, _seed(recipe, "end_to_end"), resume)
        _train_end_to_end(run, policy, demos, recipe, by_episode)
    if recipe.train_head.samples:
        _train_head(policy, demos, recipe, folder / "features", by_episode, run_stage)
    if recipe.keep_start:
        policy.load_state_dict(interpolate(start, policy.state_dict(), 1 - recipe.keep_start))
    _renew_doubt(policy, recipe, questions, doubter, run_stage)
    policy.save(folder / "policy", more=partial(_describe, recipe, demos, policy, folder, started))
    return folder / "policy"


def _seed(recipe: Recipe, stage: str) -> int:
    return recipe.seed + STAGES.index(stage)


def _train_head(
    policy: VLAPolicy,
    demos: Demonstrations,
    recipe: Recipe,
    kept: Path,
    by_episode: np.ndarray | None,
    run_stage: RunStage,
) -> None:
    """Train the head, with a pretrained backbone that learns as well; ``kept``: folder of a frozen one's features."""
    frames = choose_frames(demos, recipe.train_head)
    learning = isinstance(policy.backbone, VLMBackbone) and policy.backbone.learns
    keep = recipe.train_head.keep_features and not learning
    features = compute_features(policy.backbone, demos, frames, kept) if keep else None
    weights = None if by_episode is None else by_episode[demos.episode[frames]]
    batches = HeadBatches(policy, demos, frames, features, recipe.train_head, weights)
    run_stage("head", policy if learning else policy.head, batches.losses, recipe.train_head)


def _train_end_to_end(
    run: StageRun, policy: VLAPolicy, demos: Demonstrations, recipe: Recipe, by_episode: np.ndarray | None
) -> None:
    """Train backbone and head together, on a GPU where there is one; the policy is on the CPU again afterwards.

    Raises:
        RecipeError: the weights to start from are of a pretrained model.
    """
    settings = recipe.end_to_end
    if not isinstance(policy.backbone, Backbone):
        raise RecipeError(
            "this stage trains the small backbone",
            key="end_to_end.samples",
            expected="0, or start_from a policy with the small backbone",
            found=recipe.start_from,
            remedy="train a pretrained model's free parts with train_head",
        )
    if stage_done(run.folder, run.name, settings):
        load_ema(run.folder, run.name, policy)
        return
    processes = single_process(run.name, settings.precision)
    batches = EndToEndBatches(policy, demos, settings, by_episode)
    annotated = bool((demos.pointed | demos.placed).any())
    losses = EndToEndLosses(policy, settings, settings.pointing * annotated).to(processes.device)
    model = processes.prepare(losses)

    def step(generator: torch.Generator) -> Losses:
        return model(batches.draw(generator).to(processes.device), generator)

    train_stage(run, policy, step, settings, processes=processes)
    policy.to("cpu")


def _renew_doubt(
    policy: VLAPolicy, recipe: Recipe, questions: Questions | None, before: Doubter | None, run_stage: RunStage
) -> None:
    """Train and calibrate the doubt on the finished backbone; the one from before stays where that has not changed."""
    if not recipe.sight.samples and not recipe.sight.go_on:
        policy.doubt_with(None if recipe.pretrain.samples or recipe.name_stem.samples else before)
        return
    if questions is None or not isinstance(policy.backbone, Backbone):
        raise DatasetError(
            "the sight learns from generated images",
            key="data.questions",
            expected="a folder of generated images, for the pointing backbone",
            found="none",
            remedy="add questions to the recipe, or set sight.samples to 0",
        )
    with torch.no_grad():
        for weight in policy.backbone.model.parameters():  # as they will be saved: what is calibrated is what acts
            weight.copy_(weight.to(torch.bfloat16))
    config = policy.backbone.model.config
    sizes, settings = SightSizes(*config.num_names), recipe.sight
    sight = Sight(config.stem_channels[0], config.num_views, sizes, settings.width, settings.context)
    sight.begin_with(policy.backbone.model.name)
    if recipe.sight.go_on:
        _begin_with(sight, before, recipe)
    batches = SightBatches(policy.backbone, sight, questions, recipe.sight)
    if recipe.sight.samples:
        run_stage("sight", sight, batches.losses, recipe.sight)
    policy.doubt_with(batches.calibrate(SHAPES, tuple(COLOURS), recipe.seed))


def _begin_with(sight: Sight, before: Doubter | None, recipe: Recipe) -> None:
    """Begin with the weights of the sight before.

    Raises:
        RecipeError: there is none, or one of other sizes.
    """
    if before is None or (before.sight.width, before.sight.context) != (sight.width, sight.context):
        raise RecipeError(
            "there is no sight to go on with",
            key="sight.go_on",
            expected=f"start_from a policy whose sight has width {sight.width} and context {sight.context}",
            found="no sight" if before is None else f"width {before.sight.width} and context {before.sight.context}",
            remedy="set sight.width and sight.context to these, or leave sight.go_on out",
        )
    sight.load_state_dict(before.sight.state_dict())


def _describe(
    recipe: Recipe, demos: Demonstrations, trained: VLAPolicy, folder: Path, started: float, policy: Path
) -> None:
    """Write recipe, data hashes, versions, cost and loss curve of a training in ``folder`` to ``policy``."""
    counts = trained.parameter_counts()
    shutil.copy(folder / "recipe.yaml", policy / "recipe.yaml")
    seconds = {}
    for name in STAGES:
        log = folder / f"{name}.jsonl"
        if log.is_file():
            seconds[name] = json.loads(log.read_text().splitlines()[-1])["seconds"]
            shutil.copy(log, policy / log.name)
    backbone = load_checkpoint(policy).backbone
    description: dict[str, Any] = {
        "parameters": {**counts, "trained": _trained_parameters(recipe, trained), "in_all": sum(counts.values())},
        "seconds": {**seconds, "this_run": round(time.time() - started, 1)},
        "data": {"frames": len(demos), "episodes": demos.episode_count, "sha256": demos.hashes},
        "versions": {p: version(p) for p in ("torch", "transformers", "diffusers", "numpy", "mujoco")},
        "hardware": {"machine": platform.machine(), "system": platform.platform(), "threads": torch.get_num_threads()},
    }
    placed = np.flatnonzero(demos.placed)
    if isinstance(backbone, Backbone) and len(placed):  # nothing is said where nothing is annotated
        errors = location_errors(backbone, demos, _random_frames(placed))
        within = {"k": int((errors[:, 0] < 0.02).sum()), "n": len(errors)}
        description["target_located_within_2cm_on_training_frames"] = within
    (policy / "training.json").write_text(json.dumps(description, indent=2) + "\n")
    draw_curve([folder / f"{name}.jsonl" for name in STAGES], policy / "curve.png")


def _trained_parameters(recipe: Recipe, policy: VLAPolicy) -> int:
    """How many parameters the recipe's stages train: a backbone that no stage trains is not counted."""
    small, whole = isinstance(policy.backbone, Backbone), recipe.end_to_end.samples
    stages = recipe.pretrain.samples + recipe.name_stem.samples + whole if small else recipe.train_head.samples
    learning = [p for p in policy.backbone.parameters() if p.requires_grad] if stages else []
    head = policy.head.parameters() if recipe.train_head.samples or whole else ()
    return sum(p.numel() for p in [*learning, *head])


def _random_frames(frames: np.ndarray, count: int = 512) -> np.ndarray:
    return np.sort(np.random.default_rng(0).choice(frames, min(count, len(frames)), replace=False))
