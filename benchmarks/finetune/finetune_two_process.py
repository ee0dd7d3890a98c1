"""Two processes started by ``accelerate launch``, with full or with sharded weights, against one process."""

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
WEIGHTS = ("whole", "sharded")  # what each of the two processes holds
REFUSED = (("full", "sharded"),)  # for the small backbone (`vla_agent.finetuning.recipe_fit`)
CURVE = "tune.jsonl"


def run(settings: tuple[str, ...] = SETTINGS, methods: tuple[str, ...] = METHODS) -> dict[str, Any]:
    """A small untrained policy on two random episodes: the arithmetic is compared, not the learning."""
    from benchmarks.inputs.badinput.good_inputs import Good

    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        good = Good(Path(folder) / "good")
        for method in methods:
            chosen = (*settings, f"adapter.method={method}")
            # the batch is in two pieces either way
            single = _train(good, Path(folder) / f"{method}-alone", (*chosen, "train.accumulate=2"))
            for weights in [w for w in WEIGHTS if (method, w) not in REFUSED]:
                losses = differences(single, _train(good, Path(folder) / f"{method}-{weights}", chosen, weights))
                worst, steps = max(losses.values()), int(single[-1]["step"]) + 1
                rows.append({"method": method, "weights": weights, "steps": steps, "worst": worst} | losses)
    return {
        "value": max(float(row["worst"]) for row in rows),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": rows,
        "notes": "smoothed losses, to which every step contributes, at every log line; sharded: PyTorch's FSDP2",
    }


def _train(good: Any, out: Path, settings: tuple[str, ...], weights: str | None = None) -> list[dict[str, float]]:
    """The loss curve of a training in one process, or in two."""
    process = start(good, out, settings, weights)
    output = process.communicate()[0]
    if process.returncode:
        raise VlaAgentError(
            "a training of the benchmark failed",
            key=weights or "one process",
            expected="exit code 0",
            found=f"{process.returncode}: {output[-1000:]}",
            remedy=f"run it by hand: {process.args!r}",
        )
    return curve(out)


def start(good: Any, out: Path, settings: tuple[str, ...], weights: str | None = None) -> subprocess.Popen:
    """Start ``vla-agent finetune`` in one process, or in two with one of `WEIGHTS`; all output goes to one pipe."""
    words = ["vla_agent", "finetune", str(good.policy), "--data", str(good.dataset), "-o", str(out), "--resume"]
    settings += ("train.sharded=true",) if weights == "sharded" else ()
    words += [word for s in settings for word in ("--set", s)]
    launch = []
    if weights:  # on a machine without GPUs --multi_gpu means processes connected by gloo
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
    """The lines of a training's log without their times."""
    rows = [json.loads(line) for line in (out / CURVE).read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def differences(one: list[dict[str, float]], two: list[dict[str, float]]) -> dict[str, float]:
    """Largest relative difference of each loss between two curves."""
    names = [key for key in one[0] if key not in ("step", "samples")]
    return {k: max(abs(a[k] - b[k]) / max(abs(a[k]), 1e-12) for a, b in zip(one, two, strict=True)) for k in names}
