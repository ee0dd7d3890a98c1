"""Does an exported policy act as the policy does: the largest difference, refusals, and success on the same seeds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.export.exports import FOLDER, exported
from benchmarks.shared.evaluations import POLICY, ROOT, WORKERS
from vla_agent.files.policy_files import hash_policy_files

NAME = "export-parity"
TITLE = (
    "largest difference of an action, PyTorch against ONNX and IR, as a fraction of its range; rows: success of each "
    "on the same seeds (passed: also no difference shown)"
)
TARGET = 1e-3
UNIT = "of the range"
BETTER = "lower"
OBSERVATIONS = 1000
SEED = 7_310_000
EPISODES = int(os.environ.get("EXPORT_EPISODES", "20"))  # of each family
DEVELOPER = 3_500_000  # scenes that no other export was compared on


def run() -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    folder = exported()
    parities = _parities(folder)
    base = outcomes(POLICY)
    rows = [paired_row("ONNX", outcomes(folder), base), paired_row("OpenVINO IR", outcomes(folder, True), base)]
    largest = max(p.largest for p in parities.values())
    disagreed = sum(p.disagreed for p in parities.values())
    worst = max(parities.values(), key=lambda p: p.largest)
    return {
        "value": largest,
        "n": OBSERVATIONS * len(parities),
        "interval": None,
        "seeds": f"{SEED} to {SEED + EPISODES - 1} of each family; observations: {DEVELOPER} and up",
        "rows": rows,
        "passed": largest <= TARGET and not disagreed and all(row["p"] >= 0.05 for row in rows),
        "notes": f"{', '.join(f'{n} {p.largest:.2g}' for n, p in parities.items())} of the range, worst in "
        f"{worst.field}; held still for {worst.refused} of {OBSERVATIONS} observations, "
        f"another refusal in {disagreed}; EXPORT_EPISODES sets how many episodes of each family are played",
    }


def _parities(folder: Path) -> Any:
    from vla_agent.export.exported.exported_policy import RUNTIMES
    from vla_agent.export.exported.run import Policy
    from vla_agent.export.making.observations import Scenes
    from vla_agent.export.making.parity import compare
    from vla_agent.policy.loading import load_policy

    exported = {name: Policy(folder, open_graph=RUNTIMES[name]) for name in ("onnx", "openvino")}
    return compare(load_policy(POLICY), exported, Scenes((), DEVELOPER), OBSERVATIONS)


def paired_row(name: str, found: dict[tuple[str, int], bool], base: dict[tuple[str, int], bool]) -> dict[str, Any]:
    """Success of an export and of the policy in PyTorch on the same seeds; ``p`` of McNemar's exact test."""
    from vla_agent.evaluation.exact_tests import mcnemar
    from vla_agent.evaluation.success_statistics import paired_difference, rate

    keys = sorted(base)
    own, theirs = [found[key] for key in keys], [base[key] for key in keys]
    paired = paired_difference(own, theirs)
    p = mcnemar(paired["only_first"], paired["only_second"])
    return {"policy": name} | rate(own) | {"pytorch_k": sum(theirs)} | paired | {"p": p}


def outcomes(path: Path, openvino: bool = False) -> dict[tuple[str, int], bool]:
    """Task and seed -> success."""
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.policy.execution_settings import Execution

    digest = hash_policy_files(path).digest
    out = FOLDER / f"export-parity-{digest[:12]}{'-openvino' if openvino else ''}"
    settings = EvaluationSettings(
        os.path.relpath(path, ROOT),
        episodes=EPISODES,
        seed=SEED,
        workers=WORKERS,
        controls="none",
        out=Path(os.path.relpath(out, ROOT)),
        resume=out.exists(),
        execution=Execution(openvino=openvino),
    )
    report = evaluate(settings)
    return {(row["task"], row["seed"]): bool(row["success"]) for row in report["episodes"]}
