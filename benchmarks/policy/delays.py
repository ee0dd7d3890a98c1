"""Evaluations of the shipped policy for each execution mode and delay, on the same seeds; kept and resumable."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.shared.evaluations import POLICY, ROOT, WORKERS
from vla_agent.files.hashing import hash_file

MODES = ("open_loop", "ensemble", "adaptive", "realtime")
DELAYS_MS = (0, 50, 100, 200, 400)
EPISODES = 3  # per family and cell: 30 in each of the 20 cells
JUDGED = {("realtime", 0): 10, ("realtime", 200): 10}  # more in the cells of the targets
SEED = 500


def cells() -> list[tuple[str, int]]:
    """Every execution mode with every delay (ms)."""
    return list(product(MODES, DELAYS_MS))


def episodes(mode: str, delay_ms: int) -> int:
    """Episodes of each family in a cell."""
    return JUDGED.get((mode, delay_ms), EPISODES)


def folder(mode: str, delay_ms: int) -> Path:
    """The folder of a cell's evaluation, one for each checkpoint and simulator."""
    from vla_agent.evaluation.provenance import hash_simulator

    digest = hash_file(POLICY / "policy.json")[:12]
    name = f"{digest}-{hash_simulator()[:8]}-{mode}-{delay_ms}ms"
    return Path(os.path.relpath(ROOT / "runs" / "bench" / name))


def report(mode: str, delay_ms: int) -> dict[str, Any]:
    """The report of one cell; episodes that are already in it are not repeated."""
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.policy.execution_settings import Execution

    out = folder(mode, delay_ms)
    settings = EvaluationSettings(
        os.path.relpath(POLICY),
        episodes=episodes(mode, delay_ms),
        seed=SEED,
        workers=WORKERS,
        controls="none",
        out=out,
        resume=out.exists(),
        execution=Execution(mode, float(delay_ms)),
    )
    done = evaluate(settings)
    counts = done["summary"]["controls"]["policy"]
    print(f"{mode}, {delay_ms} ms: {counts['k']} of {counts['n']}", flush=True)
    return done


def seeds() -> str:
    """The seeds in words, for a result."""
    more = max(JUDGED.values())
    return f"{SEED} to {SEED + EPISODES - 1} of each family, the same in every cell; to {SEED + more - 1} where judged"
