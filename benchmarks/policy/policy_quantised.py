"""Success of the shipped policy with 8-bit weights, and 8-bit or bfloat16 products in OpenVINO, on paired seeds."""

from __future__ import annotations

from typing import Any

from benchmarks.shared import evaluations
from benchmarks.shared.evaluations import report, seeds

NAME = "policy-quantised"
TITLE = "success lost by 8-bit weights, paired seeds, the worse of PyTorch and OpenVINO; rows: also bf16 products"
TARGET = 0.02
UNIT = "share of episodes"
BETTER = "lower"
EPISODES = 20


def run(episodes: int = EPISODES, kept: int = evaluations.EPISODES) -> dict[str, Any]:
    """``kept``: episodes a family of the report with the original weights, which other benchmarks read."""
    from vla_agent.policy.execution_settings import Execution
    from vla_agent.policy.speed.openvino import has_bf16

    whole = report("seen", episodes=kept)
    settings = {"int8 weights, PyTorch": Execution(quantise="int8")}
    settings["int8 products, OpenVINO"] = Execution(quantise="int8", openvino=True)
    if has_bf16():
        settings["bf16 products, OpenVINO"] = Execution(quantise="bf16", openvino=True)
    rows = [
        row(name, whole, report("seen", episodes=episodes, execution=execution)) for name, execution in settings.items()
    ]
    worse = max(rows[:2], key=lambda r: r["lost"])
    return {
        "value": worse["lost"],
        "n": worse["n"],
        "interval": [worse["from"], worse["to"]],
        "seeds": seeds(episodes),
        "rows": rows,
        "notes": "PyTorch: weights of linear layers by torchao, one scale a row; OpenVINO: also the activations, "
        "in groups, where the processor has such products; k: successes of n, so and as trained",
    }


def row(name: str, whole: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The successes that an acceleration loses on the seeds of both reports."""
    from vla_agent.evaluation.success_statistics import paired_difference

    before, after = (
        {(e["task"], e["seed"]): e["success"] for e in r["episodes"] if e["control"] == "policy"}
        for r in (whole, other)
    )
    keys = sorted(before.keys() & after.keys())
    lost = paired_difference([before[k] for k in keys], [after[k] for k in keys])
    return {
        "computed as": name,
        "k": sum(after[k] for k in keys),
        "k as trained": sum(before[k] for k in keys),
        "n": lost["n"],
        "ended differently": sum(before[k] != after[k] for k in keys),
        "lost": lost["difference"],
        "from": lost["interval"][0],
        "to": lost["interval"][1],
    }
