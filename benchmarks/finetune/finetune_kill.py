"""SIGKILL at random times: a resumed fine-tuning ends as the uninterrupted one, and no file that loads is wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "finetune-kill"
TITLE = "fine-tunings killed at random times that resume to the identical loss curve and weights"
TARGET = 20.0
UNIT = "of 20"
BETTER = "higher"
KILLS = 20
SEED = 11
SETTINGS = ("train.samples=240", "train.batch=4", "train.checkpoint_minutes=0.0001", "train.warmup_steps=0")
WEIGHTS = ("adapter/adapter.safetensors", "policy/head.safetensors", "policy/backbone/model.safetensors")


def run(kills: int = KILLS, settings: tuple[str, ...] = SETTINGS) -> dict[str, Any]:
    """A checkpoint is written after every step, so that many kills fall into the writing of one."""
    from benchmarks.inputs.badinput.good_inputs import Good

    draw = random.Random(SEED)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        good = Good(Path(folder) / "good")
        whole = Path(folder) / "whole"
        begun = time.monotonic()
        _start(good, whole, settings).wait()
        lasted = time.monotonic() - begun
        for number in range(kills):
            out = Path(folder) / f"killed{number}"
            process = _start(good, out, settings)
            after = draw.uniform(0, lasted)
            time.sleep(after)
            process.kill()
            process.wait()
            faults = _wrong_but_loadable(out, whole)
            steps = _steps(out)
            resumed = _start(good, out, settings)
            if resumed.wait():
                faults.append(f"the resumed run left with {resumed.returncode}")
            else:
                faults += [f"{name} differs" for name in WEIGHTS if not _same(out / name, whole / name)]
                faults += [] if _curve(out) == _curve(whole) else ["the loss curve differs"]
            rows.append({"killed after s": round(after, 2), "steps kept": steps, "faults": "; ".join(faults)})
    kept = sum(not row["faults"] for row in rows)
    return {
        "value": float(kept),
        "n": kills,
        "interval": None,
        "seeds": [SEED],
        "rows": rows,
        "notes": f"an uninterrupted run took {lasted:.0f} s, its start-up included",
    }


def _start(good: Any, out: Path, settings: tuple[str, ...]) -> subprocess.Popen:
    words = [sys.executable, "-m", "vla_agent", "finetune", str(good.policy), "--data", str(good.dataset)]
    words += ["-o", str(out), "--resume", *(word for s in settings for word in ("--set", s))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    environment["VLA_AGENT_CACHE"] = str(good.root / "cache")
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, env=environment, stdout=quiet, stderr=quiet)


def _steps(out: Path) -> int:
    from vla_agent.training.loop.stage_checkpoint import last_checkpoint

    checkpoint = last_checkpoint(out, "tune")
    return json.loads((checkpoint / "progress.json").read_text())["step"] if checkpoint else 0


def _wrong_but_loadable(out: Path, whole: Path) -> list[str]:
    """Faults in the files of a killed run: what loads must equal the finished run, and the checkpoint must be whole."""
    from safetensors.torch import load_file

    from vla_agent.errors import VlaAgentError
    from vla_agent.policy.loading import load_policy
    from vla_agent.training.loop.stage_checkpoint import last_checkpoint

    faults = []
    for name in ("adapter", "policy"):
        try:
            left = load_policy(out / name).state_dict()
        except VlaAgentError:
            continue  # not there, or refused
        right = load_policy(whole / name).state_dict()
        if any(not left[k].equal(v) for k, v in right.items()):
            faults.append(f"{name} loads and is wrong")
    checkpoint = last_checkpoint(out, "tune")
    if checkpoint:
        for name in ("model", "ema", "optimiser"):
            try:
                load_file(checkpoint / f"{name}.safetensors")
            except Exception as error:
                faults.append(f"{name} of the checkpoint: {type(error).__name__}")
    return faults


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and a.read_bytes() == b.read_bytes()


def _curve(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "tune.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
