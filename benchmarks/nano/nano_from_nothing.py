"""The recipe of the shipped policy from an empty folder: how long it takes, and what each of its runs is worth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.nano.instructed import HELD_OUT
from benchmarks.record import ROOT

NAME = "nano-from-nothing"
TITLE = "hours from an empty folder to a policy like the shipped one, two cores"
TARGET = 8.0
UNIT = "hours"
BETTER = "lower"
RECIPE, EPISODES = "policies/tabletop-nano.yaml", 30


def run() -> dict[str, Any]:
    return measure(RECIPE, Path("runs") / "bench" / NAME, EPISODES, HELD_OUT, "policies/tabletop-nano")


def measure(recipe: str, out: Path, episodes: int, seed: int, shipped: str) -> dict[str, Any]:
    """Train by ``recipe`` in ``out``, or go on there; then evaluate the policy of each run beside ``shipped``."""
    command = [sys.executable, "-m", "vla_agent", "train", recipe, "-o", str(out)]
    command += ["--resume"] if (ROOT / out / "recipe.yaml").is_file() else []
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")})
    steps = [json.loads(line) for line in (ROOT / out / "steps.jsonl").read_text().splitlines()]
    policies = {folder.name: str(folder / "policy") for folder in sorted((ROOT / out).glob("run-*"))}
    policies |= {"shipped": str(ROOT / shipped)}
    rates = {name: _success(policy, episodes, seed) for name, policy in policies.items()}
    result, reference = rates[list(policies)[-2]], rates["shipped"]
    hours = sum(step["seconds"] for step in steps) / 3600
    within = result["interval"][1] >= reference["interval"][0] and result["interval"][0] <= reference["interval"][1]
    rows = [{"what": step["step"], "minutes": step["seconds"] / 60, "success": ""} for step in steps]
    rows += [{"what": name, "minutes": "", "success": f"{r['k']} of {r['n']}"} for name, r in rates.items()]
    core_hours = sum(step["processor_seconds"] for step in steps) / 3600
    return {
        "value": hours,
        "n": result["n"],
        "interval": None,
        "seeds": f"{seed} to {seed + episodes - 1} of each family",
        "rows": rows,
        "notes": f"{core_hours:.1f} core hours; success of the result {result['k']} of {result['n']}",
        "passed": hours <= TARGET and within,
    }


def _success(policy: str, episodes: int, seed: int) -> dict[str, Any]:
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate

    settings = EvaluationSettings(policy, episodes=episodes, seed=seed, controls="none", workers=2)
    return evaluate(settings)["summary"]["controls"]["policy"]
