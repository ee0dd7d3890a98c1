"""Training samples per second against LeRobot's SmolVLA: same backbone, images, batch; one CPU thread.

Both train on the same images, state and instruction from one folder of random weights in SmolVLM-256M's shape, cut at
16 layers, in float32, with AdamW and a frozen backbone, the default of both.  A step is forward, backward, clipping
and update on a batch in memory; seconds are those of the processor; the settings alternate in each round.

SmolVLA runs its backbone in each step, and differentiates through its language layers, since the state is one of their
tokens.  Ours can do this, too (``each step``).  Where the backbone is frozen, `vla-agent train` computes its features
only once, so that ``kept`` counts them once for `PASSES` passes over the data.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.policy.policy_vs_smolvla import (
    INSTRUCTION,
    LARGE,
    SMOLVLM_256M,
    Ours,
    Theirs,
    build,
    prepare,
    ratio,
    ratio_result,
    start_child,
)

NAME = "finetune-train-rate"
TITLE = "training samples/s over those of LeRobot's SmolVLA: same backbone and batch, each as it trains; one CPU thread"
TARGET = 1.5
UNIT = "ratio"
BETTER = "higher"
ROUNDS, BATCH = 5, 4
PASSES = 8  # over the data; LeRobot's default of 20,000 steps of 64 is 85 passes over 50 episodes of 300 frames
TERMS = {  # the first is the value
    "as each trains: features kept": (Ours(), "kept"),
    "features in each step": (Ours(), "each step"),
    "kept, our head as large as their expert": (Ours(head=LARGE), "kept"),
    "each step, our head as large as their expert": (Ours(head=LARGE), "each step"),
}


def run(rounds: int = ROUNDS, batch: int = BATCH, sizes: dict[str, Any] | None = None, image: int = 256) -> Any:
    """``sizes`` of another backbone and another ``image``: to try the benchmark."""
    import torch

    torch.set_num_threads(1)
    theirs = Theirs(image)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, observation, actions = prepare(folder, sizes or SMOLVLM_256M)
        child = start_child("lerobot_training.py", folder, Ours().layers)
        lerobot = child.read()
        steps: dict[str, Step] = {}
        for title, (ours, features_from) in TERMS.items():
            policy = build(source, Ours(image=image, layers=ours.layers, head=ours.head), observation, actions)
            steps[title] = step_of(policy, observation, batch, features_from)
        asked = {"image": theirs.image, "chunk": theirs.chunk, "batch": batch}
        taken: dict[str, list[float]] = {title: [] for title in ("LeRobot", *steps)}
        for number in range(rounds + 1):  # the first warms up
            for title in taken if number % 2 else reversed(taken):
                seconds = child.ask(asked)["seconds"] if title == "LeRobot" else steps[title].seconds()
                taken[title] += [seconds] if number else []
        child.end()
    rows = [row(title, taken["LeRobot"], taken[title], steps[title], batch, lerobot) for title in steps]
    notes = (
        f"LeRobot 0.4.4, {lerobot['in_all'] / 1e6:.0f}M parameters with {lerobot['layers']} language layers, "
        f"of which it trains {lerobot['trained'] / 1e6:.1f}M; batches of {batch}, two images of {image} px, chunks of "
        f"{theirs.chunk}; kept: a pass of the backbone divided by {PASSES} passes over the data, impossible with "
        "images that are augmented in each step; one thread each, processor seconds of a step without data loading; "
        "ratios within a round, their mean; interval by bootstrap over rounds"
    )
    return ratio_result(rows, rounds, notes)


@dataclass(frozen=True)
class Step:
    """A training step of ours, in processor seconds, and the number of parameters that it trains."""

    seconds: Callable[[], float]
    trained: int


def step_of(policy: Any, observation: dict[str, Any], batch: int, features_from: str) -> Step:
    """The step on ``batch`` copies of an observation; ``features_from``: "kept" or "each step"."""
    import torch

    from vla_agent.models.heads.head_config import HeadInputs

    views = [torch.from_numpy(observation["images"][name]) for name in policy.contract.camera_names]
    images = torch.stack(views)[None].repeat(batch, 1, 1, 1, 1)
    state = torch.from_numpy(np.asarray(observation["state"], np.float32)).repeat(batch, 1)
    text = policy.backbone.encode_text([INSTRUCTION] * batch)
    chunk = torch.randn(batch, policy.contract.chunk_length, policy.contract.action_dim)
    valid = torch.ones(batch, policy.contract.chunk_length)
    head = policy.head.train().requires_grad_(True)
    trained = list(head.parameters())
    optimiser = torch.optim.AdamW(trained, lr=1e-4)

    def features() -> dict[str, Any]:
        with torch.no_grad():
            return policy.backbone.features(images, text)

    held = features()

    def update(parts: dict[str, Any]) -> None:
        geometry = policy.backbone.geometry_of(parts, state[:, :3])
        normalised = policy.state_normaliser(state)
        inputs = HeadInputs(parts["hidden"].float(), normalised, geometry, parts.get("mask"))
        loss = head.loss(inputs, chunk, valid)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def seconds() -> float:
        began = time.process_time()
        parts = features()
        computed = time.process_time() - began
        update(parts if features_from == "each step" else held)
        whole = time.process_time() - began
        return whole if features_from == "each step" else whole - computed + computed / PASSES

    return Step(seconds, sum(p.numel() for p in trained))


def row(
    title: str, theirs: list[float], ours: list[float], step: Step, batch: int, lerobot: dict[str, Any]
) -> dict[str, Any]:
    """One row of the table."""
    mean, low, high = ratio(theirs, ours)
    return {
        "terms": title,
        "LeRobot, samples/s": batch / float(np.median(theirs)),
        "ours, samples/s": batch / float(np.median(ours)),
        "ratio": mean,
        "low": low,
        "high": high,
        "trained, M": f"{lerobot['trained'] / 1e6:.1f} against {step.trained / 1e6:.1f}",
    }
