"""``report.html`` of a gate: one self-contained page, which works offline and prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_agent.evaluation.template import page_template
from vla_agent.gate.judge import LABELS, MEANING

LABEL_MEANING = {
    "follow": "did what it was told, both times",
    "stubborn": "told another target, went for the first one",
    "indecisive": "did what it was told once of two",
    "ignorant": "did what it was told neither time",
}
MOST_FAILURES = 20


def page(report: Mapping[str, Any]) -> str:
    """The page's text."""
    judged = report["summary"]["judgement"]
    groups = [
        ("Does it do the tasks?", "On scenes that training never used.", ("success", "family.")),
        ("Does it bear perturbations?", "On the same seeds as the unperturbed control.", ("axis.",)),
        ("Does it listen and look?", "Counterfactual pairs on the same scene and seed.", ("probe.",)),
    ]
    return page_template(Path(__file__).parent).render(
        report=report,
        judged=judged,
        certified=report["certified"],
        verdict=sentence(report),
        groups=[
            (title, note, [(title_of(n), n, c) for n, c in judged["checks"].items() if n.startswith(kinds)])
            for title, note, kinds in groups
        ],
        labels=[(name, LABEL_MEANING[name], judged["language"][name]) for name in LABELS],
        failures=[e for e in report["episodes"] if e["control"] == "control" and not e["success"]][:MOST_FAILURES],
        apart=judged.get("apart"),
        title_of=title_of,
    )


def title_of(name: str) -> str:
    """A check's name in words."""
    kind, _, rest = name.partition(".")
    words = (rest or name).replace("_", " ")
    if kind == "delay":
        return f"does what it is told when it thinks for {rest} ms"
    if kind == "axis":
        axis, _, severity = words.rpartition(".")
        return f"{axis}, severity {severity}"
    return MEANING.get(name, words)


def sentence(report: Mapping[str, Any]) -> str:
    """The verdict in one sentence."""
    judged = report["summary"]["judgement"]
    if judged["verdict"] == "pass":
        return f"{report['certified']['policy']['name']} passes the gate {report['certified']['gate']['name']}."
    count = sum(c["verdict"] not in ("pass", "reported") for c in judged["checks"].values())
    judgements = sum(c["verdict"] != "reported" for c in judged["checks"].values())
    name = report["certified"]["policy"]["name"]
    return f"{name} does not pass the gate: {count} of {judgements} checks were not shown."
