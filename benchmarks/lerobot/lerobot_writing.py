"""Writes a dataset again with LeRobot's own class, videos and all.  Runs in LeRobot's environment, for `open_plain`.

Every image and vector of the source is taken over, and the task's text.  The result has no contract.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from vla_agent.peers.torchvision_names import declare_operators

OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # columns that LeRobot writes itself


def main(source: str, out: str) -> None:
    """Copy the dataset ``source`` to the new folder ``out``, frame by frame, as a recording with LeRobot does."""
    declare_operators()
    torch.set_num_threads(1)
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset("local/ours", root=source, video_backend="pyav")
    cameras = data.meta.camera_keys
    vectors = [key for key in data.meta.features if key not in (*cameras, *OWN)]
    features = {key: data.meta.features[key] for key in vectors}
    features |= {key: data.meta.features[key] | {"dtype": "video"} for key in cameras}
    target = LeRobotDataset.create("local/plain", fps=data.fps, features=features, root=out, use_videos=True)
    episode = 0
    for row in range(len(data)):
        item = data[row]
        if int(item["episode_index"]) != episode:
            target.save_episode()
            episode = int(item["episode_index"])
        frame = {key: (item[key] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for key in cameras}
        frame |= {key: item[key].numpy().reshape(features[key]["shape"]) for key in vectors}
        target.add_frame(frame | {"task": item["task"]})
    target.save_episode()
    target.finalize()
    print(json.dumps({"episodes": target.num_episodes, "frames": target.num_frames}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], str(Path(sys.argv[2]).absolute()))
