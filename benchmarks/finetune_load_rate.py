"""Frames per second of our loading over LeRobot's, on one folder of MP4, frames in random order, two cameras.

Ours is what a training does: all pictures are decoded once, in order, into a memory map, and batches are gathered from
there.  Each round counts that decoding again, from an empty cache, and one epoch of batches; LeRobot decodes each frame
where it is asked for, so that a sample of frames tells its rate.  Seconds are those of the processor; rounds
interleave.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "finetune-load-rate"
TITLE = "our frames/s over LeRobot's loader, same MP4 folder, random access, two cameras"
TARGET = 2.0
UNIT = "ratio"
BETTER = "higher"
ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"
TASK, EPISODES, SEED = "press_button", 4, 5_500_000
BATCH, SAMPLE, ROUNDS = 8, 24, 4


def run() -> dict[str, Any]:
    import numpy as np

    from vla_agent.data.collection import Recipe, collect
    from vla_agent.errors import OptionError

    python = Path(os.environ.get("VLA_AGENT_LEROBOT_PYTHON", PYTHON))
    if not python.exists():
        raise OptionError(
            "LeRobot is not installed",
            file=python,
            expected="its own environment",
            found="nothing there",
            remedy="make lerobot-check",
        )
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        collect(Recipe("tabletop", (TASK,), SEED, 1.0, 96, "video"), root, EPISODES, workers=1)
        theirs = Theirs(python, root, Path(folder))
        rows = []
        for number in range(ROUNDS + 1):  # the first warms up and is not counted
            order = rng.permutation(theirs.frames)
            decoding, gathering = _ours(root, order, Path(folder) / f"cache-{number}")
            rows.append(
                {
                    "LeRobot, frames/s": SAMPLE / theirs.seconds(order[:SAMPLE].tolist()),
                    "ours, first epoch, frames/s": theirs.frames / (decoding + gathering),
                    "ours, later epochs, frames/s": theirs.frames / gathering,
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
        "notes": f"{theirs.frames} frames of {EPISODES} episodes, two 96 px cameras, H.264, batches of {BATCH}; a "
        "frame counts with both pictures; the value counts our decoding of the whole dataset into the memory map "
        f"against one epoch; LeRobot 0.4.4 with PyAV (not torchcodec), {SAMPLE} frames a round, gives float pictures, "
        "ours are bytes as our trainings take them; one process each; interval by bootstrap over rounds",
    }


def _ours(root: Path, order: Any, cache: Path) -> tuple[float, float]:
    """Processor's seconds for decoding everything, and for one epoch of batches."""
    from vla_agent.data.lerobot_reader import load

    dataset = load(root)
    began = time.process_time()
    cameras = [dataset.decode_all(camera, 1, cache) for camera in dataset.cameras]
    decoded = time.process_time()
    columns = dataset.arrays()
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        [pictures[rows] for pictures in cameras]
        [columns[key][rows] for key in ("observation.state", "action", "task")]
    return decoded - began, time.process_time() - decoded


class Theirs:
    """LeRobot's loader in its own environment."""

    def __init__(self, python: Path, root: Path, folder: Path) -> None:
        settings = {k: v for k, v in os.environ.items() if not k.startswith(("_ROS", "LD_LIBRARY"))}
        settings |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        settings |= {"HF_HOME": str(folder / "hf")}
        words = [str(python), str(ROOT / "benchmarks" / "lerobot_loading.py"), str(root), str(BATCH)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings, cwd=ROOT
        )
        self.frames: int = self._said()["frames"]

    def seconds(self, frames: list[int]) -> float:
        """Processor's seconds for batches of these frames."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(frames) + "\n")
        self._process.stdin.flush()
        return float(self._said()["seconds"])

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # LeRobot's own words may come between
                return json.loads(line)
        raise RuntimeError(f"LeRobot's loader ended with {self._process.wait()}")

    def end(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
