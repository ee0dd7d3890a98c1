"""Reads a dataset with the real lerobot package and writes down what it gave.  Runs in lerobot's own environment.

usage: python read_dataset.py DATASET OUT.npz [DATASET OUT.npz ...]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"  # LeRobotDataset must find everything in the folder
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp(prefix="lerobot-check-"))

import numpy as np
import torch

from vla_agent.peers.torchvision_names import declare_operators


def read(root: str, out: str) -> None:
    """Every item of the dataset, and every fifth one's chunk of four actions, to one ``.npz``."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/check", root=root, video_backend="pyav")
    chunk = LeRobotDataset(
        "local/check", root=root, video_backend="pyav", delta_timestamps={"action": [k / dataset.fps for k in range(4)]}
    )
    arrays: dict[str, list] = {}
    tasks = []
    for i in range(len(dataset)):
        item = dataset[i]
        tasks.append(item.pop("task"))
        for key, value in item.items():
            if key in dataset.meta.camera_keys:
                value = (value * 255).round().to(torch.uint8).permute(1, 2, 0)
            arrays.setdefault(key, []).append(np.asarray(value))
        if i % 5 == 0:
            arrays.setdefault("chunk", []).append(chunk[i]["action"].numpy())
    meta = {
        "tasks": tasks,
        "episodes": dataset.num_episodes,
        "fps": dataset.fps,
        "lengths": [int(length) for length in dataset.meta.episodes["length"]],
        "stats": {k: {n: np.asarray(v).tolist() for n, v in s.items()} for k, s in dataset.meta.stats.items()},
    }
    np.savez(
        out, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **{k: np.stack(v) for k, v in arrays.items()}
    )


if __name__ == "__main__":
    declare_operators()
    for root, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        read(root, out)
