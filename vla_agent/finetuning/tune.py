"""A whole fine-tuning: base, demonstrations, adapters, training, adapter folder and merged policy folder."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from vla_agent.adapters.attach import attach
from vla_agent.errors import CheckpointError
from vla_agent.files.policy_folder import find_folder
from vla_agent.files.write_aside import recover
from vla_agent.finetuning.batches import BatchSampler
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.finetuning.memory import memory_advice, recompute_activations, require_space
from vla_agent.finetuning.quantised_base import quantise_frozen
from vla_agent.finetuning.recipe_fit import require_fit
from vla_agent.finetuning.result import STAGE, write_result
from vla_agent.finetuning.trackers import open_trackers
from vla_agent.finetuning.tuning import ShardableTuning, Tuning
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.policy.loading import load_policy
from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.sources import contract_of
from vla_agent.training.demonstrations import Demonstrations, load_demonstrations
from vla_agent.training.loop.optimisation import stage_steps
from vla_agent.training.loop.stage_checkpoint import load_ema, stage_done
from vla_agent.training.loop.stage_run import StageRun
from vla_agent.training.loop.train_stage import train_stage
from vla_agent.training.next_step import next_step
from vla_agent.training.parallel.processes import Processes
from vla_agent.training.parallel.sharding import gather_to_cpu
from vla_agent.training.scores.score_file import pin_scores
from vla_agent.training.training_folder import claim_folder, refuse_other_training

console = Console(soft_wrap=True)


def finetune(recipe: FineTune, folder: Path, *, resume: bool = False) -> Path:
    """Run the recipe in ``folder``; writes ``folder/adapter`` (small) and ``folder/policy`` (merged, fp32).

    Raises:
        RecipeError: ``folder`` holds another training, the adapter cannot be put on this policy, or scores of episodes
            are of another dataset.
        CheckpointError: the base is missing, damaged, or not a full policy (it is an adapter).
        ContractError: base and demonstrations disagree on cameras, state, action or rate; every difference listed.
        DatasetError: the demonstrations are missing or damaged.
        MemoryShortage: memory or disk are too small; says what can be changed.
        DivergenceError: losses or gradients are not finite.
        ProcessError: one of several processes has ended.
        Interrupted: the run was stopped; ``resume=True`` continues it.
    """
    recipe = pin_scores(recipe)
    processes = Processes(recipe.train.accumulate, recipe.train.precision, recipe.train.sharded)
    console.quiet = not processes.main
    try:
        with memory_advice(recipe, processes):
            return _finetune(recipe, folder, resume, processes)
    finally:
        console.quiet = False


def _finetune(recipe: FineTune, folder: Path, resume: bool, processes: Processes) -> Path:
    # AdaLoRA has shared out its ranks by the end: it cannot go on
    longer = () if recipe.adapter.method == "adalora" else ("train.samples",)
    grown = refuse_other_training(recipe, folder, resume, ignore=("compare",), may_grow=longer)
    started = time.time()
    base = _base_folder(recipe)
    torch.manual_seed(recipe.seed)
    policy = load_policy(base)
    require_fit(recipe, policy, processes)
    demos = _load_data(recipe, policy, processes)
    if recipe.from_scratch:
        policy = _untrained_copy(policy)
    attached = attach(policy, recipe.adapter, stage_steps(recipe.train))
    sampler = BatchSampler(policy, demos, recipe, processes.pieces)
    require_space(folder, **attached.counts())
    done = _open_folder(recipe, folder, processes)
    _print_summary(recipe, policy, demos, sampler, attached.counts())
    for key, (before, now) in grown.items():
        console.print(f"{key}: {before:,} before, {now:,} now: goes on; from here the learning rate is that of {now:,}")
    _prepare_backbone(recipe, policy, processes)
    tuning = Tuning(attached, recipe)
    if done:
        load_ema(folder, STAGE, tuning)
    elif recipe.train.samples:
        _train(StageRun(STAGE, folder, recipe.seed, resume), tuning, sampler, processes)
    tuning.ranks.finish()
    if processes.main:
        write_result(tuning, sampler, folder, started)
        _print_result(folder)
    processes.wait()
    processes.close()
    return folder / "policy"


def _base_folder(recipe: FineTune) -> Path:
    """Where the base policy lies.

    Raises:
        CheckpointError: there is none, or it is not a full policy.
    """
    folder = find_folder(recipe.base)
    if not (folder / "policy.json").is_file():
        raise CheckpointError(
            "the base is not a full policy",
            file=folder,
            key="base",
            expected="a folder with policy.json",
            found="an adapter" if (folder / "adapter.json").is_file() else "no policy.json",
            remedy="name the merged policy beside the adapter, or another policy folder",
        )
    return folder


def _load_data(recipe: FineTune, policy: VLAPolicy, processes: Processes) -> Demonstrations:
    """The demonstrations, whose contract is the policy's, with images in the size that its small backbone takes."""
    size = tuple(policy.backbone.model.config.image_size) if isinstance(policy.backbone, Backbone) else ()
    with processes.main_first():  # decoded images are kept on disk, where the other processes find them
        length = policy.contract.chunk_length
        demos = load_demonstrations(recipe.data.demonstrations, length, annotated=False, image_size=size)
    policy.contract.require(demos.contract, f"policy {recipe.base}", "the demonstrations", ignore=("chunk_length",))
    return first_episodes(demos, recipe.data.episodes)


def _open_folder(recipe: FineTune, folder: Path, processes: Processes) -> bool:
    """Take the folder for this training; whether its training is done already."""
    if processes.main:
        recover(folder / STAGE)
    processes.wait()
    done = stage_done(folder, STAGE, recipe.train)
    processes.wait()  # all have read the folder before it changes
    if processes.main:
        claim_folder(recipe, folder)  # only now: wrong data must not leave a folder that refuses the next try
    return done


def _prepare_backbone(recipe: FineTune, policy: VLAPolicy, processes: Processes) -> None:
    # FSDP, and peft where it computes with the weights of convolutions, read them in their plain memory format only
    contiguous = processes.sharded or recipe.adapter.method in ("dora", "boft")
    if isinstance(policy.backbone, Backbone) and not contiguous:
        policy.backbone.model.to(memory_format=torch.channels_last)
    if recipe.train.checkpointing:
        recompute_activations(policy)


def _train(run: StageRun, tuning: Tuning, sampler: BatchSampler, processes: Processes) -> None:
    recipe = tuning.recipe
    tuning.to_device(processes.device)
    if recipe.train.base_weights != "float32":
        quantise_frozen(tuning.policy, recipe.train.base_weights)
    if processes.sharded:  # the head is small, and its layers are not only computed by calling their forward
        model = processes.prepare(ShardableTuning(tuning), deep=tuning.policy.backbone)
        tuning.rebind_parameters()
    else:
        model = processes.prepare(tuning)
    trackers = open_trackers(recipe, recipe.train.trackers if processes.main else ())
    try:
        train_stage(
            run,
            tuning,
            lambda generator: model(sampler.draw(generator).to(processes.device), generator),
            recipe.train,
            after_step=tuning.ranks.after_step,
            processes=processes,
            trackers=[tracker.log for tracker in trackers],
        )
    finally:
        for tracker in trackers:
            tracker.finish()
    if processes.sharded:
        with processes.peer_errors():
            gather_to_cpu(tuning.policy, keep=processes.main)
        tuning.rebind_parameters()
    else:
        tuning.to_device(torch.device("cpu"))


def first_episodes(demos: Demonstrations, count: int) -> Demonstrations:
    """The first ``count`` episodes of all; every one for 0."""
    keep = slice(0, int(np.searchsorted(demos.episode, count)) if count else len(demos))
    names = ("state", "action", "points", "located", "clean", "episode", "frame", "task")
    return replace(demos, **{name: getattr(demos, name)[keep] for name in names})


def _untrained_copy(policy: VLAPolicy) -> VLAPolicy:
    """An untrained policy of the same sizes, with the same tokenizer and normalisers."""
    old = policy.backbone
    backbone = Backbone(type(old.model)(old.model.config), old.tokenizer, old.image_processor)
    new = VLAPolicy(policy.contract, backbone, policy.head.config, policy.execute)
    new.state_normaliser.load_state_dict(policy.state_normaliser.state_dict())
    new.action_normaliser.load_state_dict(policy.action_normaliser.state_dict())
    return new


def _print_summary(
    recipe: FineTune, policy: VLAPolicy, demos: Demonstrations, sampler: BatchSampler, counts: dict[str, int]
) -> None:
    console.print(
        f"{len(demos):,} frames of {demos.episode_count:,} episodes; {recipe.adapter.method}: "
        f"{counts['trained']:,} parameters trained, {counts['trained'] / counts['in_all']:.1%} of "
        f"{counts['in_all']:,} in all"
    )
    if recipe.data.weights:
        for name, fraction in zip(recipe.data.demonstrations, sampler.mixture.fractions, strict=True):
            console.print(f"  {fraction:.1%} of the samples from {name}", highlight=False)
    names = [f.name if f.size == 1 else f"{f.name}.{i}" for f in policy.contract.action for i in range(f.size)]
    fractions = zip(names, sampler.clipped.tolist(), strict=True)
    clipped = [f"{name} {fraction:.0%}" for name, fraction in fractions if fraction > 0.02]
    if clipped:
        console.print(
            f"[yellow]actions beyond the range of the base's normaliser, clipped:[/] {', '.join(clipped)}; the "
            "normaliser stays as it is"
        )


def _print_result(folder: Path) -> None:
    adapter, policy = folder / "adapter", folder / "policy"
    size = sum(f.stat().st_size for f in adapter.rglob("*")) if adapter.is_dir() else 0
    if size:
        console.print(f"adapter: {adapter} ({size / 1e3:.0f} kB)")
    console.print(f"policy:  {policy}    next: {next_step(policy, contract_of(str(policy)))}")
