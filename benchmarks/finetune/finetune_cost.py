"""Cost of a sample in fine-tuning by model: processor time, and memory that a larger batch adds."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.shared.evaluations import POLICY
from benchmarks.shared.random_vlms import SMALL, save_random_vlm

NAME = "finetune-cost"
TITLE = "memory of a fine-tuning's step at 16 samples, predicted from 2 and 8, over what it takes; worst model"
TARGET = 0.15
UNIT = "share off"
BETTER = "lower"
ROWS = (2, 8, 16)  # samples at a time
STEPS = 3
# SmolVLM's shape at a small width: 64 tokens per image, 12 layers in the vision tower, 16 in the language model
SMOLVLM = {
    "vision_config": SMALL["smolvlm"]["vision_config"]
    | {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_hidden_layers": 12}
    | {"image_size": 256, "patch_size": 16},
    "text_config": SMALL["smolvlm"]["text_config"]
    | {"hidden_size": 320, "num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 64}
    | {"intermediate_size": 832, "num_hidden_layers": 16},
    "scale_factor": 2,
}
SETTINGS: dict[str, tuple[str, ...]] = {
    "lora": (),
    "full": ("adapter.method=full",),
    "lora, checkpointing": ("train.checkpointing=true",),
}


def run(rows: tuple[int, ...] = ROWS, steps: int = STEPS, small: bool = False) -> dict[str, Any]:
    """Measure each model and method in a process of its own, on one thread; ``small``: tiny models, to try it out."""
    import torch

    from benchmarks.inputs.badinput.good_inputs import Good

    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    with tempfile.TemporaryDirectory() as folder:
        good = Good(Path(folder))
        assert good.dataset
        sizes = SMALL["smolvlm"] if small else SMOLVLM
        bases = {"nano": good.policy if small else POLICY, "SmolVLM-shaped": vlm_policy(good, sizes)}
        table = [
            _row(name, str(base), good, method, rows, steps)
            for name, base in bases.items()
            for method in SETTINGS
            if "checkpointing" not in method or name != "nano"
        ]
    return {
        "value": max(row["predicted off"] for row in table),
        "n": len(table),
        "interval": None,
        "seeds": [0],
        "rows": table,
        "notes": f"processor seconds of a thread, fp32, {steps} steps of {rows[-1]} samples after one to warm up; "
        "fixed: weights, gradients, moments, average; memory: what the process takes beyond its libraries",
    }


def vlm_policy(good: Any, sizes: dict[str, Any]) -> Path:
    """An untrained policy on a random SmolVLM of these sizes, in a folder."""
    from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
    from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
    from vla_agent.models.heads.head_config import HeadConfig
    from vla_agent.policy.loading import load_policy
    from vla_agent.policy.policy import VLAPolicy

    pattern = load_policy(good.policy)
    backbone = open_vlm(save_random_vlm("smolvlm", sizes, good.root / "vlm"), VLMOptions())
    policy = VLAPolicy(good.contract, backbone, HeadConfig(width=128, depth=2))
    for name in ("state_normaliser", "action_normaliser"):
        getattr(policy, name).load_state_dict(getattr(pattern, name).state_dict())
    policy.save(good.root / "vlm-policy")
    return good.root / "vlm-policy"


def _row(name: str, base: str, good: Any, method: str, rows: tuple[int, ...], steps: int) -> dict[str, Any]:
    costs = {n: _in_own_process(partial(cost, base, good.dataset, n, steps, SETTINGS[method])) for n in rows}
    few, some, many = rows
    each = (costs[some]["mib"] - costs[few]["mib"]) / (some - few)
    fixed = costs[few]["mib"] - few * each
    took = costs[many]["mib"]
    return {
        "model": name,
        "method": method,
        "parameters": costs[few]["in_all"],
        "trained": costs[few]["trained"],
        "s a sample": costs[many]["seconds"],
        "fixed MiB": fixed,
        "MiB a sample": each,
        f"MiB at {many}": took,
        "predicted off": abs(fixed + many * each - took) / took,
    }


def cost(base: str, data: Path, rows: int, steps: int, settings: tuple[str, ...]) -> dict[str, float]:
    """Processor seconds a sample and peak MiB of a few steps, in this process."""
    import torch

    from vla_agent.adapters.attach import attach
    from vla_agent.finetuning.batches import BatchSampler
    from vla_agent.finetuning.finetune_recipe import make_finetune
    from vla_agent.finetuning.memory import recompute_activations
    from vla_agent.finetuning.tuning import Tuning
    from vla_agent.policy.loading import load_policy
    from vla_agent.training.demonstrations import load_demonstrations
    from vla_agent.training.parallel.processes import Processes

    before = _peak_mib()
    recipe = make_finetune({"base": base, "data": {"demonstrations": [str(data)]}}, (f"train.batch={rows}", *settings))
    policy = load_policy(base)
    demos = load_demonstrations(recipe.data.demonstrations, policy.contract.chunk_length)
    attached = attach(policy, recipe.adapter)
    if recipe.train.checkpointing:
        recompute_activations(policy)
    sampler, tuning = BatchSampler(policy, demos, recipe), Tuning(attached, recipe).train()
    processes = Processes()
    model = processes.prepare(tuning)
    optimiser = torch.optim.AdamW([p for p in tuning.parameters() if p.requires_grad])
    average = {k: v.clone() for k, v in tuning.state_dict().items()}
    for step in range(steps + 1):
        if step == 1:
            begun = time.process_time()
        optimiser.zero_grad(set_to_none=True)
        processes.backward(step, lambda generator: model(sampler.draw(generator), generator))
        optimiser.step()
    seconds = (time.process_time() - begun) / (steps * rows)
    assert average
    return {"seconds": seconds, "mib": _peak_mib() - before, **attached.counts()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_own_process(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The result of ``work``, computed in a process of its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(work()))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()
