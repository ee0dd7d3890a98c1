"""Two processes that ``accelerate launch`` starts, each with all weights or with a part, against one process."""

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
TITLE = "largest relative difference of a loss between two processes (gloo; weights whole or sharded) and one"
TARGET = 1e-4
UNIT = "of the loss"
BETTER = "lower"
SETTINGS = ("train.samples=480", "train.batch=8", "train.warmup_steps=0")
METHODS = ("lora", "full")
WAYS = ("whole", "sharded")  # what each of the two processes holds of the weights
REFUSED = (("full", "sharded"),)  # of the small backbone's weights (`vla_agent.finetuning.recipe_fit`)
CURVE = "tune.jsonl"


def run(
    settings: tuple[str, ...] = SETTINGS, methods: tuple[str, ...] = METHODS, ways: tuple[str, ...] = WAYS
) -> dict[str, Any]:
    """A small untrained policy on two made-up episodes: what is compared is arithmetic, not what is learned."""
    from benchmarks.inputs.badinput.good import Good

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        good = Good(Path(folder) / "good")
        for method in methods:
            chosen = (*settings, f"adapter.method={method}")
            # the batch is in two pieces either way
            alone = _trained(good, Path(folder) / f"{method}-alone", (*chosen, "train.accumulate=2"))
            for way in [w for w in ways if (method, w) not in REFUSED]:
                together = _trained(good, Path(folder) / f"{method}-{way}", chosen, way)
                worst = {k: max(_apart(a[k], b[k]) for a, b in zip(alone, together, strict=True)) for k in alone[0]}
                losses = {k: v for k, v in worst.items() if k not in ("step", "samples")}
                steps = int(alone[-1]["step"]) + 1
                rows.append({"method": method, "weights": way, "steps": steps, "worst": max(losses.values())} | losses)
    return {
        "value": max(float(row["worst"]) for row in rows),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "notes": "smoothed losses, in which every step has its part, at every log line; sharded: PyTorch's FSDP2",
    }


def _trained(good: Any, out: Path, settings: tuple[str, ...], way: str | None = None) -> list[dict[str, float]]:
    """The curve of a training in one process, or in two."""
    begun = start(good, out, settings, way)
    said = begun.communicate()[0]
    if begun.returncode:
        raise VlaAgentError(
            "a training of the benchmark failed",
            key=way or "one process",
            expected="exit code 0",
            found=f"{begun.returncode}: {said[-1000:]}",
            remedy=f"run it by hand: {begun.args!r}",
        )
    return curve(out)


def start(good: Any, out: Path, settings: tuple[str, ...], way: str | None = None) -> subprocess.Popen:
    """``vla-agent finetune`` in one process, or in two by one of `WAYS`; what they say goes to one pipe."""
    words = ["vla_agent", "finetune", str(good.policy), "--data", str(good.dataset), "-o", str(out), "--resume"]
    settings += ("train.sharded=true",) if way == "sharded" else ()
    words += [word for s in settings for word in ("--set", s)]
    launch = []
    if way:  # on a machine without GPUs --multi_gpu means processes that gloo connects
        launch = ["accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
        launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launch += ["--main_process_port", "0", "-m"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment |= {"VLA_AGENT_CACHE": str(good.root / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", *launch, *words],
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
