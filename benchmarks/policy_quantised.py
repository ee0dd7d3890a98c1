"""What 8-bit weights cost the shipped policy, and products in bfloat16 where the processor has them, on paired seeds."""

from __future__ import annotations

from typing import Any

from benchmarks import evaluations
from benchmarks.evaluations import report, seeds
from benchmarks.policy_vs_smolvla import has_bf16

NAME = "policy-quantised"
TITLE = "success lost by 8-bit weights, paired seeds; rows: also by products in bf16 (OpenVINO)"
TARGET = 0.02
UNIT = "share of episodes"
BETTER = "lower"
EPISODES = 20


def run(episodes: int = EPISODES, kept: int = evaluations.EPISODES) -> dict[str, Any]:
    """``kept``: episodes a family of the report with the weights as they were trained, which other benchmarks read."""
    from vla_agent.evaluation.execution import Execution

    whole = report("seen", episodes=kept)
    settings = {"int8 weights": Execution(quantise="int8")}
    if has_bf16():
        settings["bf16 products, OpenVINO"] = Execution(quantise="bf16", openvino=True)
    rows = [
        row(name, whole, report("seen", episodes=episodes, execution=execution)) for name, execution in settings.items()
    ]
    return {
        "value": rows[0]["lost"],
        "n": rows[0]["n"],
        "interval": [rows[0]["from"], rows[0]["to"]],
        "seeds": seeds(episodes),
        "rows": rows,
        "notes": "int8: weights of linear layers by torchao, one scale a row; k of n: successes so and as it was trained",
    }


def row(name: str, whole: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What another way of computing loses on the seeds of both reports."""
    from vla_agent.evaluation.statistics import paired_difference

    before, after = (
        {(e["task"], e["seed"]): e["success"] for e in r["episodes"] if e["control"] == "policy"} for r in (whole, other)
    )
    keys = sorted(before.keys() & after.keys())
    lost = paired_difference([before[k] for k in keys], [after[k] for k in keys])
    return {
        "computed as": name,
        "k": sum(after[k] for k in keys),
        "k as trained": sum(before[k] for k in keys),
        "n": lost["n"],
        "ended otherwise": sum(before[k] != after[k] for k in keys),
        "lost": lost["difference"],
        "from": lost["interval"][0],
        "to": lost["interval"][1],
    }
