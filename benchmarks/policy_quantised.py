"""What 8-bit weights cost the shipped policy, on the same seeds."""

from __future__ import annotations

from typing import Any

from benchmarks import evaluations
from benchmarks.evaluations import families, report, seeds

NAME = "policy-quantised"
TITLE = "success lost by 8-bit weights, paired seeds"
TARGET = 0.02
UNIT = "share of episodes"
BETTER = "lower"
EPISODES = 20


def run(episodes: int = EPISODES, kept: int = evaluations.EPISODES) -> dict[str, Any]:
    """``kept``: episodes a family of the report with the weights as they were trained, which other benchmarks read."""
    from vla_agent.evaluation.execution import Execution
    from vla_agent.evaluation.statistics import paired_difference

    whole = report("seen", episodes=kept)
    quantised = report("seen", episodes=episodes, execution=Execution(quantise="int8"))
    outcomes = [
        {(e["task"], e["seed"]): e["success"] for e in r["episodes"] if e["control"] == "policy"}
        for r in (whole, quantised)
    ]
    keys = sorted(outcomes[0].keys() & outcomes[1].keys())
    lost = paired_difference(*([o[k] for k in keys] for o in outcomes))
    changed = sum(outcomes[0][k] != outcomes[1][k] for k in keys)
    return {
        "value": lost["difference"],
        "n": lost["n"],
        "interval": lost["interval"],
        "seeds": seeds(episodes),
        "rows": families(quantised["summary"]),
        "notes": f"weights of linear layers as int8 by torchao, one scale a row; "
        f"{sum(outcomes[0][k] for k in keys)} successes with the weights as they were trained, "
        f"{sum(outcomes[1][k] for k in keys)} with int8; {changed} episodes ended otherwise",
    }
