"""Families of vision-language models that work as a backbone: small random models through the real loading path."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NAME = "policy-families"
TITLE = "backbone families that load, train one step, save, reload to the same output and serve"
TARGET = 8
UNIT = "families"
BETTER = "higher"
STEPS = ("load", "train", "save", "reload", "serve")
INSTRUCTION = "put the red mug in the tray"


def run() -> dict[str, Any]:
    from benchmarks.shared.random_vlms import SMALL, save_small_vlm

    rows = []
    for family in SMALL:
        with tempfile.TemporaryDirectory() as folder:
            done = walk(save_small_vlm(family, Path(folder) / "model"), Path(folder) / "policy")
        rows.append({"family": family, **{step: done.get(step, "not reached") for step in STEPS}})
        print(rows[-1], flush=True)
    passed = sum(all(row[step] == "yes" for step in STEPS) for row in rows)
    return {
        "value": passed,
        "n": len(rows),
        "interval": None,
        "seeds": "0",
        "rows": rows,
        "notes": "random weights of small sizes, built from each family's own configuration, two cameras, half of the "
        "layers kept; the output after a reload is compared bit for bit",
    }


def walk(source: Path, folder: Path) -> dict[str, str]:
    """Each step that ``source`` passed: "yes", or its error."""
    done: dict[str, str] = {}
    try:
        for step in _steps(source, folder):
            done[step] = "yes"
    except Exception as error:  # an error of any kind is the result
        done[STEPS[len(done)]] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return done


def untrained_policy(source: Path) -> Any:
    """A policy with half of the layers of the vision-language model in ``source`` and a small head."""
    from vla_agent.contract.tabletop import tabletop_contract
    from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMOptions
    from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
    from vla_agent.models.heads.head_config import HeadConfig
    from vla_agent.policy.policy import VLAPolicy

    rng, contract = np.random.default_rng(0), tabletop_contract()
    head = HeadConfig(width=32, depth=1, heads=2, serve_steps=2)
    policy = VLAPolicy(contract, open_vlm(source, VLMOptions(layer=2)), head)
    policy.action_normaliser.fit_range(rng.normal(size=(64, contract.action_dim)))
    policy.state_normaliser.fit_moments(rng.normal(size=(64, contract.state_dim)))
    return policy


def _steps(source: Path, folder: Path) -> Iterator[str]:
    import torch

    from benchmarks.shared.plausible_state import plausible_state

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    policy = untrained_policy(source)
    yield "load"
    cameras = policy.contract.cameras
    shape = (2, len(cameras), cameras[0].height, cameras[0].width, 3)
    images = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    _train_one_step(policy, images)
    yield "train"
    policy.save(folder)
    yield "save"
    reloaded = _reload(policy, folder, images[:1])
    yield "reload"
    observation = {
        "images": {c.name: images[0, i].numpy() for i, c in enumerate(cameras)},
        "state": plausible_state(policy.contract, rng),
    }
    _serve(reloaded, observation)
    yield "serve"


def _train_one_step(policy: Any, images: Any) -> None:
    """One step on two samples; vision tower and language model must both move."""
    import torch

    from vla_agent.models.heads.head_config import HeadInputs

    contract, backbone, head = policy.contract, policy.backbone, policy.head
    state, chunk = torch.randn(2, contract.state_dim), torch.randn(2, contract.chunk_length, contract.action_dim)
    torch.nn.init.normal_(head.tokens_out.weight, std=0.1)  # both are zero until trained
    torch.nn.init.normal_(head.blocks[0].cross_out.weight, std=0.1)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    features = backbone.features(images, backbone.encode_text([INSTRUCTION, "open the drawer"]))
    inputs = HeadInputs(features["hidden"], state, mask=features["mask"])
    loss = head.loss(inputs, chunk, torch.ones(chunk.shape[:2]))
    loss.backward()
    torch.optim.SGD(policy.parameters(), lr=0.1).step()
    moved = [name for name, p in backbone.named_parameters() if not torch.equal(p, before[name])]
    for module in (backbone.family.vision[0], backbone.family.language[0]):
        if not any(name.startswith(f"model.{module}.") for name in moved):
            raise RuntimeError(f"one step moved nothing in {module}")
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is not finite")


def _reload(policy: Any, folder: Path, images: Any) -> Any:
    """The saved policy, whose hidden tokens must be the same bits."""
    import torch

    from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
    from vla_agent.policy.loading import load_policy

    reloaded = load_policy(folder)
    if not isinstance(reloaded.backbone, VLMBackbone):
        raise RuntimeError("the reloaded backbone is of another kind")
    with torch.no_grad():
        saved, loaded = (
            b.features(images, b.encode_text([INSTRUCTION]))["hidden"]
            for b in (policy.backbone.eval(), reloaded.backbone)
        )
    if not torch.equal(saved, loaded):
        raise RuntimeError(f"the reloaded backbone differs by {float((saved - loaded).abs().max()):.2g}")
    return reloaded


def _serve(policy: Any, observation: dict[str, Any]) -> None:
    """Two chunks with the same seed must be the same, and of the contract's shape."""
    policy.reset(INSTRUCTION, seed=1)
    first = policy.act(observation)
    policy.reset(INSTRUCTION, seed=1)
    shape = policy.contract.chunk_length, policy.contract.action_dim
    if first.shape != shape or not np.array_equal(first, policy.act(observation)):
        raise RuntimeError("the chunk has another shape, or is not reproducible")
