"""Loads batches with LeRobot's own dataset.  Runs in LeRobot's environment, as a child of `finetune_load_rate`.

Each input line is a JSON list of frame numbers; each output line has the CPU seconds for them.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from vla_agent.peers.torchvision_names import declare_operators


def main(root: str, batch: int) -> None:
    """Answer requests until the input ends."""
    declare_operators()
    torch.set_num_threads(1)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import default_collate

    dataset = LeRobotDataset("local/loading", root=root, video_backend="pyav")
    print(json.dumps({"frames": len(dataset)}), flush=True)
    for line in sys.stdin:
        frames = json.loads(line)
        start_time = time.process_time()
        for start in range(0, len(frames), batch):
            default_collate([dataset[i] for i in frames[start : start + batch]])
        print(json.dumps({"seconds": time.process_time() - start_time}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
