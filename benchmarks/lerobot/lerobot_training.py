"""Times training steps of LeRobot's SmolVLA.  Runs in LeRobot's environment, as a child of `finetune_train_rate`.

Each input line is a JSON object: ``image`` (side of the vision tower's input), ``chunk``, ``batch``; each output line
has the CPU seconds of one step: forward, backward, clipping and AdamW, as in LeRobot's own training loop, on a batch
that its processors have prepared.  The frozen parts are LeRobot's defaults.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lerobot.lerobot_smolvla import build
from vla_agent.peers.torchvision_names import declare_operators


def main(source: Path, observation: Path, layers: int, instruction: str) -> None:
    """As `lerobot_smolvla.main`."""
    declare_operators()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = dict(np.load(observation))
    built = build(source, data, layers, instruction)
    policy, config = built.policy.train(), built.config
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4)
    counts = {"trained": sum(p.numel() for p in trained), "in_all": sum(p.numel() for p in policy.parameters())}
    counts["layers"] = len(policy.model.vlm_with_expert.get_vlm_model().text_model.layers)
    print(json.dumps(counts), flush=True)
    one = built.batch()
    for line in sys.stdin:
        request = json.loads(line)
        config.resize_imgs_with_padding = (request["image"], request["image"])
        config.chunk_size = config.n_action_steps = request["chunk"]
        rows: dict[str, Any] = {
            k: v.repeat(request["batch"], *[1] * (v.ndim - 1)) if isinstance(v, torch.Tensor) else v
            for k, v in one.items()
        }
        rows["action"] = torch.randn(request["batch"], request["chunk"], data["actions"].shape[1])
        start = time.process_time()
        loss, _ = policy.forward(rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.optimizer_grad_clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        print(json.dumps({"seconds": time.process_time() - start, "loss": float(loss.detach())}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
