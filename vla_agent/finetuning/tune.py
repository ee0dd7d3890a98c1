"""A whole fine-tuning: base, demonstrations, adapters, training, adapter folder and merged policy folder."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from vla_agent.adapters.adapter_folder import base_hash, load_adapted, save_adapter
from vla_agent.adapters.attach import attach
from vla_agent.errors import CheckpointError
from vla_agent.files.policy_folder import find_folder
from vla_agent.finetuning.batches import Drawing, Tuning, WholePolicy
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.finetuning.memory import advice, recompute_activations, require_space
from vla_agent.finetuning.quantised_base import quantise_frozen
from vla_agent.finetuning.recipe_fit import require_fit
from vla_agent.finetuning.trackers import open_trackers
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.policy.loading import load_policy
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations, load_demonstrations
from vla_agent.training.distributed import Processes
from vla_agent.training.loop import load_ema, stage_done, train_stage
from vla_agent.training.loss_curve import draw_curve
from vla_agent.training.sharding import gather
from vla_agent.training.train import claim, refuse_taken

STAGE = "tune"
console = Console(soft_wrap=True)


def finetune(recipe: FineTune, folder: Path, *, resume: bool = False) -> Path:
    """Run the recipe in ``folder``; writes ``folder/adapter`` (small) and ``folder/policy`` (merged, fp32).

    Raises:
        RecipeError: ``folder`` holds another training, or the adapter cannot be put on this policy.
        CheckpointError: the base is missing, damaged, or has no policy of its own (it is an adapter).
        ContractError: base and demonstrations disagree on cameras, state, action or rate; every difference listed.
        DatasetError: the demonstrations are missing or damaged.
        MemoryShortage: memory or disk are too small; says what can be changed.
        DivergenceError: losses or gradients are no numbers any more.
        ProcessError: one of several processes has ended.
        Interrupted: the run was stopped; ``resume=True`` goes on.
    """
    processes = Processes(recipe.train.accumulate, recipe.train.precision, recipe.train.sharded)
    console.quiet = not processes.main
    try:
        with advice(recipe, processes):
            return _finetune(recipe, folder, resume, processes)
    finally:
        console.quiet = False


def _finetune(recipe: FineTune, folder: Path, resume: bool, processes: Processes) -> Path:
    refuse_taken(recipe, folder, resume)
    begun = time.time()
    place = find_folder(recipe.base)
    if not (place / "policy.json").is_file():
        raise CheckpointError(
            "the base is no whole policy",
            file=place,
            key="base",
            expected="a folder with policy.json",
            found="an adapter" if (place / "adapter.json").is_file() else "no policy.json",
            remedy="name the merged policy beside the adapter, or another policy folder",
        )
    torch.manual_seed(recipe.seed)
    policy = load_policy(place)
    require_fit(recipe, policy, processes)
    with processes.main_first():  # decoded pictures are kept on disk, where the others find them
        demos = load_demonstrations(recipe.data.demonstrations, policy.contract.chunk_length, annotated=False)
    policy.contract.require(demos.contract, f"policy {recipe.base}", "the demonstrations", ignore=("chunk_length",))
    demos = first_episodes(demos, recipe.data.episodes)
    if recipe.from_scratch:
        policy = _anew(policy)
    steps = max(1, recipe.train.samples // recipe.train.batch)
    attached = attach(policy, recipe.adapter, steps)
    drawing = Drawing(policy, demos, recipe, processes.pieces)
    counts = attached.counts()
    require_space(folder, **counts)
    done = stage_done(folder, STAGE, recipe.train)
    processes.wait()  # all have looked at the folder before it changes
    if processes.main:
        claim(recipe, folder)  # only now: wrong data must not leave a folder that refuses the next try
    share = counts["trained"] / counts["in_all"]
    console.print(
        f"{len(demos):,} frames of {int(demos.episode.max()) + 1:,} episodes; {recipe.adapter.method}: "
        f"{counts['trained']:,} parameters trained, {share:.1%} of {counts['in_all']:,} in all"
    )
    if recipe.data.weights:
        for name, part in zip(recipe.data.demonstrations, drawing.mixture.share, strict=True):
            console.print(f"  {part:.1%} of the samples from {name}", highlight=False)
    _warn_of_cut(drawing, policy)
    # FSDP, and peft where it computes with the weights of convolutions, read them in their plain memory format alone
    contiguous = processes.sharded or recipe.adapter.method in ("dora", "boft")
    if isinstance(policy.backbone, Backbone) and not contiguous:
        policy.backbone.model.to(memory_format=torch.channels_last)
    if recipe.train.checkpointing:
        recompute_activations(policy)
    tuning = Tuning(attached, recipe)
    if done:
        load_ema(folder, STAGE, tuning)
    elif recipe.train.samples:
        _train(recipe, folder, resume, tuning, drawing, processes)
    tuning.ranks.finish()
    if processes.main:
        _write(recipe, folder, tuning, drawing, demos, begun)
    processes.wait()
    processes.close()
    return folder / "policy"


def _train(
    recipe: FineTune, folder: Path, resume: bool, tuning: Tuning, drawing: Drawing, processes: Processes
) -> None:
    tuning.to_device(processes.device)
    if recipe.train.base_weights != "float32":
        quantise_frozen(tuning.policy, recipe.train.base_weights)
    if processes.sharded:  # the head is small, and its layers are not computed by their forward alone
        model = processes.prepare(WholePolicy(tuning), deep=tuning.policy.backbone)
        tuning.find_again()
    else:
        model = processes.prepare(tuning)
    trackers = open_trackers(recipe, recipe.train.trackers if processes.main else ())
    try:
        train_stage(
            STAGE,
            tuning,
            lambda generator: model(drawing.draw(generator).to(processes.device), generator),
            recipe.train,
            recipe.seed,
            folder,
            resume=resume,
            after_step=tuning.ranks.after_step,
            processes=processes,
            watch=[tracker.log for tracker in trackers],
        )
    finally:
        for tracker in trackers:
            tracker.finish()
    if processes.sharded:
        with processes.together():
            gather(tuning.policy, keep=processes.main)
        tuning.find_again()
    else:
        tuning.to_device(torch.device("cpu"))


def first_episodes(demos: Demonstrations, count: int) -> Demonstrations:
    """The first ``count`` episodes of all; every one for 0."""
    keep = slice(0, int(np.searchsorted(demos.episode, count)) if count else len(demos))
    names = ("state", "action", "points", "located", "clean", "episode", "frame", "task")
    return replace(demos, **{name: getattr(demos, name)[keep] for name in names})


def _anew(policy: VLAPolicy) -> VLAPolicy:
    """An untrained policy of the same sizes, with the same tokenizer and normalisers."""
    old = policy.backbone
    backbone = Backbone(type(old.model)(old.model.config), old.tokenizer, old.image_processor)
    fresh = VLAPolicy(policy.contract, backbone, policy.head.config, policy.execute)
    fresh.state_normaliser.load_state_dict(policy.state_normaliser.state_dict())
    fresh.action_normaliser.load_state_dict(policy.action_normaliser.state_dict())
    return fresh


def _warn_of_cut(drawing: Drawing, policy: VLAPolicy) -> None:
    names = [f.name if f.size == 1 else f"{f.name}.{i}" for f in policy.contract.action for i in range(f.size)]
    cut = [f"{n} {c:.0%}" for n, c in zip(names, drawing.cut.tolist(), strict=True) if c > 0.02]
    if cut:
        console.print(
            f"[yellow]actions beyond what the base can emit, cut off:[/] {', '.join(cut)}; its normaliser is kept"
        )


def _write(
    recipe: FineTune, folder: Path, tuning: Tuning, drawing: Drawing, demos: Demonstrations, begun: float
) -> None:
    log = folder / f"{STAGE}.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    seconds = rows[-1]["seconds"] if rows else 0.0
    description = {
        "seconds": {STAGE: seconds, "this_run": round(time.time() - begun, 1), "drawing": round(drawing.seconds, 2)},
        "samples": recipe.train.samples,
        "data": {"frames": len(demos), "episodes": int(demos.episode.max()) + 1, "sha256": demos.hashes}
        | {"folders": list(recipe.data.demonstrations), "share": drawing.mixture.share.tolist()},
    }
    adapter, policy = folder / "adapter", folder / "policy"
    share = recipe.robust.wise
    save_adapter(tuning.attached, recipe.base, adapter, share, {"training": description})
    if recipe.from_scratch:  # its frozen rest is not the base's: the whole policy is the result
        shutil.rmtree(adapter)
        tuning.policy.save(policy, torch.float32)
    else:
        load_adapted(adapter, recipe.base).save(policy, torch.float32)
    base = {"name": recipe.base, "sha256": base_hash(find_folder(recipe.base))}
    entries = {"parameters": tuning.attached.counts(), "base": base, "recipe": recipe.model_dump(mode="json")}
    (policy / "training.json").write_text(json.dumps(entries | description, indent=2) + "\n")
    shutil.copy(folder / "recipe.yaml", policy / "recipe.yaml")
    draw_curve([log], policy / "curve.png")
    size = sum(f.stat().st_size for f in adapter.rglob("*")) if adapter.is_dir() else 0
    if size:
        console.print(f"adapter: {adapter} ({size / 1e3:.0f} kB)")
    console.print(f"policy:  {policy}    next: vla-agent eval {policy}")
