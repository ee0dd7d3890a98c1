"""Opens datasets with LeRobot's own class and reads all their frames.  Runs in LeRobot's environment, as a child.

Each input line is a folder in JSON; each output line has its frames, its rate and its instructions, or the error.
"""

from __future__ import annotations

import json
import sys

import torch

from vla_agent.peers.torchvision_names import declare_operators


def main() -> None:
    """Answer requests until the input ends."""
    declare_operators()
    torch.set_num_threads(1)
    for line in sys.stdin:
        try:
            answer = _opened(json.loads(line))
        except Exception as error:  # whatever LeRobot raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _opened(folder: str) -> dict[str, object]:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/opening", root=folder, video_backend="pyav")
    tasks = [dataset[k]["task"] for k in range(len(dataset))]
    return {"frames": len(dataset), "fps": dataset.fps, "tasks": sorted(set(tasks))}


if __name__ == "__main__":
    main()
