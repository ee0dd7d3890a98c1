"""One evaluation of the shipped policy by one worker, and on two Ray nodes of which a worker is killed meanwhile."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

NAME = "gate-ray"
TITLE = "episodes that differ between one worker and two local Ray nodes, one worker killed by SIGKILL meanwhile"
TARGET = 0.0
UNIT = "episodes"
BETTER = "lower"
EPISODES = 3  # of each family
SEED = 7_000
AFTER = 5  # episodes, before the worker is killed


def run() -> dict[str, Any]:
    """An episode differs where its row (outcome, hash of the last state, hash of all images) or its actions do."""
    import ray

    from benchmarks.gate.ray_nodes import Killer, two_nodes
    from benchmarks.shared.evaluations import POLICY
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate

    options: dict[str, Any] = {"episodes": EPISODES, "seed": SEED, "controls": "none"}
    policy = os.path.relpath(POLICY)
    with tempfile.TemporaryDirectory() as folder:
        alone, many = Path(folder) / "alone", Path(folder) / "many"
        first = evaluate(EvaluationSettings(policy, workers=1, out=alone, **options))
        with two_nodes() as cluster:
            killer = Killer(cluster, AFTER)
            cluster_settings = EvaluationSettings(policy, workers=None, ray=cluster.address, out=many, **options)
            second = evaluate(cluster_settings, progress=killer)
        different = _episodes(first, alone) ^ _episodes(second, many)
    return {
        "value": float(len({key for key, _ in different})),
        "n": len(first["episodes"]),
        "interval": None,
        "seeds": f"{SEED} to {SEED + EPISODES - 1} of each family",
        "passed": not different and killer.killed is not None,
        "rows": [_row("one worker", first), _row("two Ray nodes, one worker killed", second)],
        "notes": f"Ray {ray.__version__}; a worker was {'killed' if killer.killed else 'NOT killed'} after at least "
        f"{AFTER} episodes. Both nodes share this machine's cores",
    }


def _episodes(report: dict[str, Any], out: Path) -> set[tuple[str, str]]:
    """(key, row and actions) of every episode."""
    import json

    import numpy as np

    from vla_agent.evaluation.result_store import key_of

    with np.load(out / "actions.npz", allow_pickle=False) as stored:
        return {
            (key_of(row), json.dumps(row, sort_keys=True) + stored[f"{key_of(row)}/actions"].tobytes().hex())
            for row in report["episodes"]
        }


def _row(name: str, report: dict[str, Any]) -> dict[str, Any]:
    policy, seconds = report["summary"]["controls"]["policy"], report["summary"]["seconds"]
    return {"run": name, "k": policy["k"], "n": policy["n"], "wall s": seconds["wall"], "workers": seconds["workers"]}
