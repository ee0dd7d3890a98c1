"""The same behaviour before and after the move into rooms: every episode's states and images, every loss of a training.

Both sides run in processes of their own with the same packages: the commit before the move from a clone, and the tree
as it is.  Needs the git history.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT

NAME = "house-same"
TITLE = "episodes and losses that differ from those of the commit before the move into rooms"
TARGET = 0
UNIT = "differences"
BETTER = "lower"
BEFORE = "a600e62"
EPISODES = 10  # of each of the ten families, for the policy, its control and the scripted policies
POLICY = "policies/tabletop-nano"
KEPT = ("task", "instruction", "seed", "control", "success", "steps", "failure", "state_hash", "image_hash")
DEMONSTRATIONS, QUESTIONS, STEPS, BATCH = 10, 64, 200, 8


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        before = work / "before"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(before)], check=True)
        subprocess.run(["git", "checkout", "-q", BEFORE], cwd=before, check=True)
        trees = {"before": before, "after": ROOT}
        episodes = {name: evaluate(tree, work / f"eval-{name}") for name, tree in trees.items()}
        trained = {name: train(tree, work / f"train-{name}", work) for name, tree in trees.items()}
    rows = [
        _row("episodes", episodes["before"], episodes["after"]),
        *(_row(f"training: {stage}", trained["before"][stage], trained["after"][stage]) for stage in trained["before"]),
    ]
    return {
        "value": sum(row["differ"] for row in rows),
        "n": sum(row["n"] for row in rows),
        "interval": None,
        "seeds": [0, EPISODES - 1],
        "rows": rows,
        "notes": f"before: {BEFORE}; an episode is {', '.join(KEPT)}; of each family {EPISODES} for the policy, "
        "with its instruction shuffled, random and expert; a training from nothing on "
        f"{DEMONSTRATIONS} demonstrations, {STEPS} steps of {BATCH} samples a stage.",
    }


def evaluate(tree: Path, out: Path) -> list[Any]:
    """What the episodes of an evaluation by the code of ``tree`` say."""
    _command(tree, "eval", str(ROOT / POLICY), "--episodes", str(EPISODES), "--workers", "2", "-o", str(out))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return [[episode.get(key) for key in KEPT] for episode in report["episodes"]]


def train(tree: Path, out: Path, work: Path) -> dict[str, list[Any]]:
    """Stage -> its losses, and the weights' SHA-256, of a training by the code of ``tree``; data of the code before."""
    data, questions = work / "demonstrations", work / "questions"
    if not data.exists():
        _command(tree, "collect", "--episodes", str(DEMONSTRATIONS), "--workers", "2", "-o", str(data))
        words = ["-m", "sim.questions", "--scenes", str(QUESTIONS), "--workers", "1", "-o", str(questions)]
        _python(tree, *words)
    recipe = {"data.demonstrations": [str(data)], "data.questions": [str(questions)], "start_from": "", "keep_start": 0}
    recipe |= {f"{stage}.samples": STEPS * BATCH for stage in ("pretrain", "train_head")}
    recipe |= {f"{stage}.batch": BATCH for stage in ("pretrain", "train_head")} | {"name_stem.samples": 0}
    words = [word for key, value in recipe.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    _command(tree, "train", str(_plain_recipe(work)), "-o", str(out), *words)
    logs = sorted(out.glob("*.jsonl"))
    losses = {log.stem: [_losses(line) for line in log.read_text(encoding="utf-8").splitlines()] for log in logs}
    weights = sorted((out / "policy").rglob("*.safetensors"))
    return losses | {"weights": [hashlib.sha256(file.read_bytes()).hexdigest() for file in weights]}


def _plain_recipe(work: Path) -> Path:
    """The shipped policy's recipe without the data and the rounds that it makes, which older code does not know."""
    from ruamel.yaml import YAML

    yaml, file = YAML(), work / "recipe.yaml"
    recipe = yaml.load((ROOT / "policies" / "tabletop-nano.yaml").read_text(encoding="utf-8"))
    recipe = {key: value for key, value in recipe.items() if key not in ("collect", "questions", "rounds", "sight")}
    with file.open("w", encoding="utf-8") as f:
        yaml.dump(recipe | {"data": {"demonstrations": [], "questions": []}}, f)
    return file


def _losses(line: str) -> dict[str, Any]:
    timed = ("seconds", "rate", "wait", "eta")
    return {key: value for key, value in json.loads(line).items() if not any(word in key for word in timed)}


def _row(what: str, before: list[Any], after: list[Any]) -> dict[str, Any]:
    differ = sum(a != b for a, b in zip(before, after, strict=False)) + abs(len(before) - len(after))
    return {"what": what, "n": len(before), "differ": differ}


def _command(tree: Path, *words: str) -> None:
    _python(tree, "-m", "vla_agent", *words)


def _python(tree: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "MUJOCO_GL": "egl"}
    done = subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{tree}: {' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
