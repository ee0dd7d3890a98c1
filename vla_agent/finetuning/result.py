"""The result of a fine-tuning: the adapter's folder, and the merged policy's folder with the record of its training."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import torch

from vla_agent.adapters.adapter_folder import load_adapted, save_adapter
from vla_agent.files.policy_files import hash_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.finetuning.batches import BatchSampler
from vla_agent.finetuning.tuning import Tuning
from vla_agent.models.reader.own_templates import templates_of
from vla_agent.training.loss_curve import draw_curve

STAGE = "tune"


def write_result(tuning: Tuning, sampler: BatchSampler, folder: Path, started: float) -> None:
    """Write ``folder/adapter`` and ``folder/policy``.

    From scratch there is no adapter: the frozen rest of the policy is not the base's either.

    Args:
        started: `time.time()` at the start of this run.
    """
    recipe, log = tuning.recipe, folder / f"{STAGE}.jsonl"
    record = _record(tuning, sampler, log, started)
    adapter, policy = folder / "adapter", folder / "policy"
    base = {"name": recipe.base, "sha256": hash_policy_files(find_folder(recipe.base)).digest}
    entries = {"parameters": tuning.attached.counts(), "base": base, "recipe": recipe.model_dump(mode="json")}

    def describe(place: Path) -> None:
        (place / "training.json").write_text(json.dumps(entries | record, indent=2) + "\n")
        shutil.copy(folder / "recipe.yaml", place / "recipe.yaml")
        draw_curve([log], place / "curve.png")

    if recipe.from_scratch:
        tuning.policy.save(policy, torch.float32, describe)
    else:
        passing = _passing(tuning, sampler)
        more = {"training": record} | ({"passing": list(passing)} if passing else {})
        save_adapter(tuning.attached, recipe.base, adapter, recipe.robust.wise, more)
        load_adapted(adapter, recipe.base).save(policy, torch.float32, describe)


def _passing(tuning: Tuning, sampler: BatchSampler) -> tuple[str, ...]:
    """Templates of the demonstrations' instructions that the base's reader does not know: it is to let them pass."""
    reader = tuning.policy.reader
    if reader is None:
        return ()
    new = [text for text in sampler.demos.instructions if not reader.read_task(text).is_own]
    return templates_of(new, reader.settings)


def _record(tuning: Tuning, sampler: BatchSampler, log: Path, started: float) -> dict[str, object]:
    """Times, samples and data of the training."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    trained, recipe, demos = rows[-1]["seconds"] if rows else 0.0, tuning.recipe, sampler.demos
    this_run = round(time.time() - started, 1)
    return {
        "seconds": {STAGE: trained, "this_run": this_run, "drawing": round(sampler.seconds, 2)},
        "samples": recipe.train.samples,
        "data": {
            "frames": len(demos),
            "episodes": demos.episode_count,
            "sha256": demos.hashes,
            "folders": list(recipe.data.demonstrations),
            "share": sampler.mixture.fractions.tolist(),
        },
    }
