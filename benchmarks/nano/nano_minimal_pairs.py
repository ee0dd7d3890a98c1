"""Pairs of episodes that differ in one thing, the object that is named: does the motion follow?"""

from __future__ import annotations

from typing import Any

from benchmarks.nano.instructed import Case, Setting, families, play_all

NAME = "nano-minimal-pairs"
TITLE = "follow rate: success with another object of the same scene named"
TARGET = 0.97
UNIT = "fraction of pairs"
BETTER = "higher"


def run() -> dict[str, Any]:
    return measure(Setting(episodes=25))


def measure(setting: Setting) -> dict[str, Any]:
    from vla_agent.evaluation.success_statistics import rate

    cases = [Case(family, setting.seed + k, "swap") for k in range(setting.episodes) for family in families()]
    played = list(play_all(cases, setting))
    total = rate(p.success for p in played)
    rows = []
    for family in families():
        found = rate(p.success for p in played if p.case.family == family)
        if found["n"]:
            rows.append({"family": family, "k": found["k"], "n": found["n"]})
    return {
        "value": total["success"],
        "n": total["n"],
        "interval": total["interval"],
        "seeds": setting.seeds,
        "rows": rows,
    }
