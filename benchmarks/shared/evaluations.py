"""Evaluations of the shipped policy, shared by several benchmarks; run once per checkpoint and split, and resumable."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
from vla_agent.evaluation.success_statistics import wilson
from vla_agent.files.hashing import hash_file
from vla_agent.policy.execution_settings import Execution

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "policies" / "tabletop-nano"
EPISODES = 50
SEED = 0
WORKERS = 2


def report(
    split: str, controls: str = "none", episodes: int = EPISODES, execution: Execution | None = None
) -> dict[str, Any]:
    """The report of the shipped policy, ``episodes`` a family; kept in ``runs/bench`` under the checkpoint's hash."""
    digest = hash_file(POLICY / "policy.json")[:12]
    weights = f"-{execution.quantise}" if execution and execution.quantise else ""
    weights += "-openvino" if execution and execution.openvino else ""
    out = Path(os.path.relpath(ROOT / "runs" / "bench" / f"{digest}-{split}-{controls}{weights}"))
    console = Console()

    def show(played: Any, done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            console.print(f"{split}: {done}/{total} episodes")

    settings = EvaluationSettings(
        os.path.relpath(POLICY),
        episodes=episodes,
        seed=SEED,
        workers=WORKERS,
        split=split,
        controls=controls,
        out=out,
        resume=out.exists(),
        execution=execution or Execution(),
    )
    return evaluate(settings, progress=show)


def seeds(episodes: int = EPISODES) -> str:
    return f"{SEED} to {SEED + episodes - 1} of each family"


def families(summary: dict[str, Any], control: str = "policy") -> list[dict[str, Any]]:
    """Rows: task, k, n, success, low, high."""
    rows = []
    for task, counts in summary["controls"][control]["families"].items():
        low, high = wilson(counts["k"], counts["n"])
        rows.append(
            {"task": task, "k": counts["k"], "n": counts["n"], "success": counts["success"], "low": low, "high": high}
        )
    return rows


def difference(a: tuple[int, int], b: tuple[int, int]) -> tuple[float, list[float]]:
    """k/n of ``a`` minus that of ``b``, independent samples, with Newcombe's 95 % interval (1998)."""
    (p, q), (l1, u1), (l2, u2) = (a[0] / a[1], b[0] / b[1]), wilson(*a), wilson(*b)
    low = p - q - math.hypot(p - l1, u2 - q)
    high = p - q + math.hypot(u1 - p, q - l2)
    return p - q, [low, high]
