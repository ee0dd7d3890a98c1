"""Record demonstrations as a LeRobotDataset v3.0 and look at what is in them.

python examples/03_demonstrations.py
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vla_agent.cli import main as vla_agent
from vla_agent.data.lerobot.dataset_reader import load


def main() -> int:
    out = Path(tempfile.mkdtemp(prefix="vla-example-"))
    folder = out / "demonstrations"
    # The experts are disturbed now and then, so that the data shows how to recover; the label is the expert's answer.
    code = vla_agent(["collect", "--tasks", "press_button,put_in_tray", "--episodes", "4", "-o", str(folder)])
    if code:
        return code
    dataset = load(folder)  # checks versions, indices, NaN, contract, lengths
    columns = dataset.arrays()
    for name in ("observation.state", "action"):
        print(f"{name}: {columns[name].shape} {columns[name].dtype}")
    episode = columns["episode_index"]
    for k in range(int(episode.max()) + 1):
        (frames,) = np.nonzero(episode == k)
        print(f"episode {k}: {len(frames)} frames, '{columns['task'][frames[0]]}'")
    # First, middle and last frame of each episode, one row an episode.
    rows = [np.nonzero(episode == k)[0] for k in range(int(episode.max()) + 1)]
    sheet = [np.hstack(dataset.frames("front", [row[0], row[len(row) // 2], row[-1]])) for row in rows]
    Image.fromarray(np.vstack(sheet)).save(out / "frames.png")
    print(f"frames: {out / 'frames.png'}")
    return vla_agent(["data", "validate", str(folder)])  # every defect with episode, frame and remedy


if __name__ == "__main__":
    sys.exit(main())
