"""Families of vision-language models that work as a backbone: small random models through the real loading path."""

from __future__ import annotations

import tempfile
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
    """Each step that ``source`` came through: "yes", or what went wrong."""
    done: dict[str, str] = {}
    try:
        for step in _steps(source, folder):
            done[step] = "yes"
    except Exception as error:  # what goes wrong is the result
        done[STEPS[len(done)]] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return done


def _steps(source: Path, folder: Path) -> Any:
    import torch

    from vla_agent.contract.tabletop import tabletop_contract
    from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone, VLMOptions
    from vla_agent.models.backbones.pretrained.pretrained_files import open_vlm
    from vla_agent.models.heads.head_config import HeadConfig
    from vla_agent.policy.loading import load_policy
    from vla_agent.policy.policy import VLAPolicy

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    contract = tabletop_contract()
    backbone = open_vlm(source, VLMOptions(layer=2))
    policy = VLAPolicy(contract, backbone, HeadConfig(width=32, depth=1, heads=2, serve_steps=2))
    policy.action_normaliser.fit_range(rng.normal(size=(64, contract.action_dim)))
    policy.state_normaliser.fit_moments(rng.normal(size=(64, contract.state_dim)))
    yield "load"

    cameras = contract.cameras
    shape = (2, len(cameras), cameras[0].height, cameras[0].width, 3)
    images = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    state, chunk = torch.randn(2, contract.state_dim), torch.randn(2, contract.chunk_length, contract.action_dim)
    torch.nn.init.normal_(policy.head.tokens_out.weight, std=0.1)  # zero until trained, as is what lies before it
    torch.nn.init.normal_(policy.head.blocks[0].cross_out.weight, std=0.1)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    parts = backbone.features(images, backbone.encode_text([INSTRUCTION, "open the drawer"]))
    loss = policy.head.loss(parts["hidden"], state, None, chunk, torch.ones(chunk.shape[:2]), mask=parts["mask"])
    loss.backward()
    torch.optim.SGD(policy.parameters(), lr=0.1).step()
    moved = [name for name, p in backbone.named_parameters() if not torch.equal(p, before[name])]
    family = backbone.family
    for part in (family.vision[0], family.language[0]):
        if not any(name.startswith(f"model.{part}.") for name in moved):
            raise RuntimeError(f"one step moved nothing in {part}")
    if not torch.isfinite(loss):
        raise RuntimeError("the loss is not finite")
    yield "train"

    policy.save(folder)
    yield "save"

    observation = {
        "images": {c.name: images[0, i].numpy() for i, c in enumerate(cameras)},
        "state": rng.normal(size=contract.state_dim).astype(np.float32),
    }
    again = load_policy(folder)
    if not isinstance(again.backbone, VLMBackbone):
        raise RuntimeError("the reloaded backbone is of another kind")
    with torch.no_grad():
        mine, theirs = (
            b.features(images[:1], b.encode_text([INSTRUCTION]))["hidden"] for b in (backbone.eval(), again.backbone)
        )
    if not torch.equal(mine, theirs):
        raise RuntimeError(f"the reloaded backbone differs by {float((mine - theirs).abs().max()):.2g}")
    yield "reload"

    again.reset(INSTRUCTION, seed=1)
    first = again.act(observation)
    again.reset(INSTRUCTION, seed=1)
    if first.shape != chunk.shape[1:] or not np.array_equal(first, again.act(observation)):
        raise RuntimeError("the served chunk is not one, or not the same twice")
    yield "serve"
