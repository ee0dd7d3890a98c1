"""Does an exported policy act as the policy does: the largest difference, refusals, and success on the same seeds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.export.exports import FOLDER, about, exported
from benchmarks.shared.evaluations import POLICY, ROOT, WORKERS

NAME = "export-parity"
TITLE = (
    "largest difference of an action, PyTorch against ONNX and IR, as a fraction of its range; rows: success of each "
    "on the same seeds (passed: also no difference shown)"
)
TARGET = 1e-3
UNIT = "of the range"
BETTER = "lower"
OBSERVATIONS = 1000
SEED, EPISODES = 7_310_000, 20  # of each family
DEVELOPER = 3_500_000  # scenes that no other export was compared on


def run() -> dict[str, Any]:
    import torch

    from vla_agent.evaluation.exact_tests import mcnemar
    from vla_agent.evaluation.success_statistics import paired_difference, rate

    torch.set_num_threads(1)
    folder, small = exported(), exported(int8=True)
    outcomes = {
        name: _outcomes(path, openvino)
        for name, path, openvino in (
            ("PyTorch", POLICY, False),
            ("ONNX", folder, False),
            ("OpenVINO IR", folder, True),
            ("ONNX, int8", small, False),
        )
    }
    parities = _parities(folder)
    keys = sorted(outcomes["PyTorch"])
    base = [outcomes["PyTorch"][key] for key in keys]
    rows, shown = [], False
    for name, found in outcomes.items():
        own = [found[key] for key in keys]
        paired = paired_difference(own, base)
        p = mcnemar(paired["only_first"], paired["only_second"])
        shown |= name != "ONNX, int8" and p < 0.05
        counts = {key: paired[key] for key in ("only_first", "only_second", "difference", "interval")}
        rows.append({"policy": name, **rate(own), **counts, "p": p})
    largest = max(p.largest for p in parities.values())
    disagreed = sum(p.disagreed for p in parities.values())
    worst = max(parities.values(), key=lambda p: p.largest)
    eight = about(small)["parity"]
    return {
        "value": largest,
        "n": OBSERVATIONS * len(parities),
        "interval": None,
        "seeds": f"{SEED} to {SEED + EPISODES - 1} of each family; observations: {DEVELOPER} and up",
        "rows": rows,
        "passed": largest <= TARGET and not disagreed and not shown,
        "notes": f"{', '.join(f'{n} {p.largest:.2g}' for n, p in parities.items())} of the range, worst in "
        f"{worst.field}; held still for {worst.refused} of {OBSERVATIONS} observations, "
        f"another refusal in {disagreed}; "
        f"int8 at its export: {eight['int8']['largest']:.2g} of the range",  # type: ignore[index,call-overload]
    }


def _parities(folder: Path) -> Any:
    from vla_agent.export.exported.exported_policy import RUNTIMES
    from vla_agent.export.exported.run import Policy
    from vla_agent.export.making.observations import Scenes
    from vla_agent.export.making.parity import compare
    from vla_agent.policy.loading import load_policy

    exported = {name: Policy(folder, open_graph=RUNTIMES[name]) for name in ("onnx", "openvino")}
    return compare(load_policy(POLICY), exported, Scenes((), DEVELOPER), OBSERVATIONS)


def _outcomes(path: Path, openvino: bool) -> dict[tuple[str, int], bool]:
    """Task and seed -> success."""
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.policy.execution_settings import Execution

    out = FOLDER / f"export-parity-{path.name}{'-openvino' if openvino else ''}"
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
