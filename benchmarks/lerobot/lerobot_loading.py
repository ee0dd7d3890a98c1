"""Loads batches with LeRobot's own dataset.  Runs in LeRobot's environment, as a child of `finetune_load_rate`.

Each line that comes in is a JSON list of frame numbers; the line that goes out says the processor's seconds for them.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from vla_agent.peers.torchvision_names import declare_operators


def main(root: str, batch: int) -> None:
    declare_operators()
    torch.set_num_threads(1)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import default_collate

    dataset = LeRobotDataset("local/loading", root=root, video_backend="pyav")
    print(json.dumps({"frames": len(dataset)}), flush=True)
    for line in sys.stdin:
        frames = json.loads(line)
        began = time.process_time()
        for start in range(0, len(frames), batch):
            default_collate([dataset[i] for i in frames[start : start + batch]])
        print(json.dumps({"seconds": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
