"""Two processes that ``accelerate launch`` starts, against one process with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from vla_agent.errors import VlaAgentError

NAME = "finetune-two-process"
TITLE = "largest relative difference of a loss between two processes (gloo) and one, same global batch"
TARGET = 1e-4
UNIT = "of the loss"
BETTER = "lower"
SETTINGS = ("train.samples=480", "train.batch=8", "train.warmup_steps=0")
PIECES = {1: 2, 2: 1}  # processes: pieces each; the batch is in two either way
METHODS = ("lora", "full")
CURVE = "tune.jsonl"


def run(settings: tuple[str, ...] = SETTINGS, methods: tuple[str, ...] = METHODS) -> dict[str, Any]:
    """A small untrained policy on two made-up episodes: what is compared is arithmetic, not what is learned."""
    from benchmarks.badinput.good import Good

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        good = Good(Path(folder) / "good")
        for method in methods:
            curves = []
            for processes, pieces in PIECES.items():
                out = Path(folder) / f"{method}-{processes}"
                chosen = (*settings, f"adapter.method={method}", f"train.accumulate={pieces}")
                begun = start(good, out, processes, chosen)
                said = begun.communicate()[0]
                if begun.returncode:
                    raise VlaAgentError(
                        "a training of the benchmark failed",
                        key=f"{processes} processes",
                        expected="exit code 0",
                        found=f"{begun.returncode}: {said[-1000:]}",
                        remedy=f"run it by hand: {begun.args!r}",
                    )
                curves.append(curve(out))
            worst = {k: max(_apart(a[k], b[k]) for a, b in zip(*curves, strict=True)) for k in curves[0][0]}
            losses = {k: v for k, v in worst.items() if k not in ("step", "samples")}
            steps = int(curves[0][-1]["step"]) + 1
            rows.append({"method": method, "steps": steps, "worst": max(losses.values())} | losses)
    return {
        "value": max(float(row["worst"]) for row in rows),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "notes": "smoothed losses, in which every step has its part, at every line of the logs",
    }


def start(good: Any, out: Path, processes: int, settings: tuple[str, ...]) -> subprocess.Popen:
    """``vla-agent finetune`` in this many processes; what they say goes to one pipe."""
    words = ["vla_agent", "finetune", str(good.policy), "--data", str(good.dataset), "-o", str(out), "--resume"]
    words += [word for s in settings for word in ("--set", s)]
    # on a machine without GPUs --multi_gpu means processes that gloo connects
    launch = ["accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
        "-m",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment |= {"VLA_AGENT_CACHE": str(good.root / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", *(launch if processes > 1 else []), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def curve(out: Path) -> list[dict[str, float]]:
    """The log's lines without their times."""
    rows = [json.loads(line) for line in (out / CURVE).read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def _apart(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), 1e-12)
