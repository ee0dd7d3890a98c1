"""``report.html``: the report as one self-contained page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_agent.contract.tabletop import CONTROL_HZ
from vla_agent.environments.names import SHIPPED
from vla_agent.evaluation.failure_modes import FAILURES, UNKNOWN, refusal_line
from vla_agent.evaluation.report.clips import Clip
from vla_agent.evaluation.report.template import page_template, percent

NAMES = {
    "policy": "policy",
    "shuffled": "instruction shuffled",
    "random": "random actions",
    "expert": "scripted expert",
}
MEANING = {
    "policy": "given the task's instruction",
    "shuffled": "given another instruction; counted against the task's own",
    "random": "sees neither images nor instruction",
    "expert": "reads the simulator's state",
}
HARDEST = 10


def page(report: Mapping[str, Any], clips: list[Clip], out: Path) -> str:
    """The page's text.  ``out``: the folder in the replay commands."""
    summary = report["summary"]
    return page_template(Path(__file__).with_name("evaluation_template.html")).render(
        report=report,
        summary=summary,
        controls=[_card(c, report) for c in summary["controls"]],
        verdict=verdict(report),
        families=_families(report),
        failures=_failures(report),
        hz=report.get("environment", {}).get("control_hz", CONTROL_HZ),
        left_out=report.get("environment", {}).get("left_out", {}),
        replay_env=_replay_env(report),
        groups=summary.get("groups"),
        test=summary.get("success_test"),
        failed=sum(summary["controls"]["policy"]["failures"].values()),
        refused=refusal_line(report["episodes"]),
        hardest=hardest(report),
        clips=clips,
        out=out.as_posix(),
        names=NAMES,
    )


def _replay_env(report: Mapping[str, Any]) -> str:
    """What a replay command needs beside the report: the name of an environment that is not shipped."""
    name = report.get("environment", {}).get("name")
    return f" --env {name}" if name is not None and name not in SHIPPED else ""


def _failures(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Failure mode -> number of the policy's failures; the modes that an environment does not tell apart are one."""
    counts = report["summary"]["controls"]["policy"]["failures"]
    known = FAILURES if "events" not in report.get("environment", {}).get("left_out", {}) else ("refused", UNKNOWN)
    return [(name, counts.get(name, 0)) for name in known]


def verdict(report: Mapping[str, Any]) -> str:
    """What the numbers show, in one to three sentences."""
    controls = report["summary"]["controls"]
    policy = controls["policy"]
    text = f"{report['policy']} succeeded in {policy['k']} of {policy['n']} episodes ({percent(policy['success'])})."
    differences = report["summary"]["differences"]
    if "shuffled" in differences:
        low = differences["shuffled"]["interval"][0]
        text += " It follows its instruction." if low > 0 else " It was not shown to follow its instruction."
    if "random" in differences and differences["random"]["interval"][0] <= 0:
        text += " It was not shown to be better than random actions."
    if "expert" in controls and controls["expert"]["success"] < 0.9:
        text += f" The scripted expert itself reached only {percent(controls['expert']['success'])}."
    return text


def _card(control: str, report: Mapping[str, Any]) -> dict[str, Any]:
    numbers = report["summary"]["controls"][control]
    meaning = MEANING[report["policy"] if control == "policy" and report["policy"] in MEANING else control]
    return {"key": control, "name": NAMES[control], "meaning": meaning} | numbers


def family_title(report: Mapping[str, Any], name: str) -> str:
    """A family's name, and that it is of a file outside the suite where it is."""
    file = report["summary"].get("settings", {}).get("tasks", {}).get(name)
    return name.replace("_", " ") + (f" (own file, outside the suite {report['suite']})" if file else "")


def _families(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per task family, the policy's numbers with those of every control."""
    controls = report["summary"]["controls"]
    return [
        {"name": family_title(report, name), "cells": {c: controls[c]["families"].get(name) for c in controls}}
        for name in controls["policy"]["families"]
    ]


def hardest(report: Mapping[str, Any], count: int = HARDEST) -> list[dict[str, Any]]:
    """Failed episodes of the policy, first those whose seed failed in most tasks, then where the expert succeeded."""
    expert = {(e["task"], e["seed"]): e["success"] for e in report["episodes"] if e["control"] == "expert"}
    failed = [(i, e) for i, e in enumerate(report["episodes"]) if e["control"] == "policy" and not e["success"]]
    by_seed = Counter(e["seed"] for _, e in failed)
    rows = [
        {"episode": i, "row": e, "same_seed": by_seed[e["seed"]], "expert": expert.get((e["task"], e["seed"]))}
        for i, e in failed
    ]
    rows.sort(key=lambda r: (-r["same_seed"], not r["expert"], r["episode"]))
    return rows[:count]
