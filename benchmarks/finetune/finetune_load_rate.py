"""Frames per second of our loading over LeRobot's, on one folder of MP4, frames in random order, two cameras.

Ours is the loading of a training: all images are decoded once, in order, into a memory map, and batches are gathered
from it.  Each round counts that decoding again, from an empty cache, and one epoch of batches.  LeRobot decodes each
frame on demand, so that a sample of frames gives its rate.  Seconds are processor seconds; rounds interleave.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "finetune-load-rate"
TITLE = "our frames/s over LeRobot's loader, same MP4 folder, random access, two cameras"
TARGET = 2.0
UNIT = "ratio"
BETTER = "higher"
TASK, EPISODES, SEED = "press_button", 4, 5_500_000
BATCH, SAMPLE, ROUNDS = 8, 24, 4


def run() -> dict[str, Any]:
    import numpy as np

    from benchmarks.lerobot.lerobot_child import LeRobotChild
    from vla_agent.data.collect.collection import Recipe, collect

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        collect(Recipe("tabletop", (TASK,), SEED, 1.0, 96, "video"), root, EPISODES, workers=1)
        theirs = LeRobotChild("lerobot_loading.py", [str(root), str(BATCH)], Path(folder))
        frames: int = theirs.read()["frames"]
        rows = []
        for number in range(ROUNDS + 1):  # the first warms up and is not counted
            order = rng.permutation(frames)
            decoding, gathering = _ours(root, order, Path(folder) / f"cache-{number}")
            rows.append(
                {
                    "LeRobot, frames/s": SAMPLE / theirs.ask(order[:SAMPLE].tolist())["seconds"],
                    "ours, first epoch, frames/s": frames / (decoding + gathering),
                    "ours, later epochs, frames/s": frames / gathering,
                }
            )
        theirs.end()
    rows = rows[1:]
    ratios = np.array([row["ours, first epoch, frames/s"] / row["LeRobot, frames/s"] for row in rows])
    drawn = ratios[rng.integers(len(ratios), size=(2000, len(ratios)))].mean(1)
    return {
        "value": float(ratios.mean()),
        "n": ROUNDS,
        "interval": [float(v) for v in np.percentile(drawn, [2.5, 97.5])],
        "seeds": [SEED],
        "rows": rows,
        "notes": f"{frames} frames of {EPISODES} episodes, two 96 px cameras, H.264, batches of {BATCH}; a "
        "frame counts with both images; the value counts our decoding of the whole dataset into the memory map "
        f"against one epoch; LeRobot 0.4.4 with PyAV (not torchcodec), {SAMPLE} frames a round, gives float images, "
        "ours are bytes as our trainings take them; one process each; interval by bootstrap over rounds",
    }


def _ours(root: Path, order: Any, cache: Path) -> tuple[float, float]:
    """Processor seconds for decoding everything, and for one epoch of batches."""
    from vla_agent.data.lerobot.dataset_reader import load

    dataset = load(root)
    began = time.process_time()
    cameras = [dataset.decode_all(camera, 1, cache) for camera in dataset.cameras]
    decoded = time.process_time()
    columns = dataset.arrays()
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        [images[rows] for images in cameras]
        [columns[key][rows] for key in ("observation.state", "action", "task")]
    return decoded - began, time.process_time() - decoded
