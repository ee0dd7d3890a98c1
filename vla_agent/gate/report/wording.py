"""A gate's result in words, for the page, the terminal and `vla-agent verify`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vla_agent.evaluation.report.template import interval
from vla_agent.gate.decision.judge import CHECK_MEANING
from vla_agent.gate.decision.plan import CONTROL

FOR_HARDWARE = 0.5  # success rate that a pass must at least show before it is worth a try on hardware


def title_of(name: str) -> str:
    """A check's name in words."""
    kind, _, rest = name.partition(".")
    words = (rest or name).replace("_", " ")
    if kind == "delay":
        return f"does the instructed task with an inference latency of {rest} ms"
    if kind == "axis":
        axis, _, severity = words.rpartition(".")
        return f"{axis}, severity {severity}"
    return CHECK_MEANING.get(name, words)


def condition(cell: str) -> str:
    """What an episode was played under, in a few words."""
    kind, _, rest = cell.partition(".")
    short = {CONTROL: "unperturbed", "delay": f"{rest} ms", "oracle": "true places given"}
    return short.get(kind) or rest.rstrip(".0123456789").replace("_", " ")


def verdict_sentence(report: Mapping[str, Any]) -> str:
    """The verdict in one sentence."""
    judgement, certified = report["summary"]["judgement"], report["certified"]
    name, gate = certified["policy"]["name"], certified["gate"]["name"]
    if judgement["verdict"] == "pass":
        return f"{name} passes the gate {gate}."
    judged = [c["verdict"] for c in judgement["checks"].values() if c["verdict"] != "reported"]
    count = sum(verdict != "pass" for verdict in judged)
    return f"{name} does not pass the gate {gate}: {count} of {len(judged)} checks were not shown."


def headline(judgement: Mapping[str, Any]) -> str:
    """What to quote: the estimate of success with its interval, and the worst family."""
    estimate, families = judgement["estimate"], judgement["families"]
    if estimate["rate"] is None:
        return "success is not estimated: a family was not played"
    k, n = (sum(f[key] for f in families.values()) for key in ("k", "n"))
    text = f"success {share(estimate['rate'])} ({interval(estimate['interval'])}), mean over {counted(families)}"
    worst = estimate["worst_family"]
    text += f", {k} of {n} unperturbed episodes; worst family {worst['name'].replace('_', ' ')}"
    return f"{text}: {worst['k']} of {worst['n']} ({interval(worst['interval'])})"


def share(rate: float) -> str:
    """A rate in per cent with one decimal."""
    return f"{100 * rate:.1f} %"


def counted(families: Mapping[str, Any]) -> str:
    """How many families, in words."""
    return "1 family" if len(families) == 1 else f"{len(families)} families"


def for_trying_out(judgement: Mapping[str, Any]) -> bool:
    """Whether a gate was passed on too little evidence for hardware (`FOR_HARDWARE`)."""
    return judgement["verdict"] == "pass" and judgement["estimate"]["interval"][0] < FOR_HARDWARE


def strength_of_evidence(judgement: Mapping[str, Any]) -> str:
    """What the episodes show of success: the lower end of the estimate's 95 % interval, rounded down."""
    least = math.floor(1000 * judgement["estimate"]["interval"][0]) / 10
    shown = f"at least {least:g} % success at 95 % confidence" if least else "no success rate above 0"
    limit = "; for trying out, not for hardware" if for_trying_out(judgement) else ""
    return f"this shows {shown}{limit}"


def latency_refusal(report: Mapping[str, Any]) -> str:
    """Why the certificate would refuse the machine that ran the gate; empty where it would not."""
    allowed, measured = report["certified"]["latency"]["certified_ms"], report["latency"].get("p99_ms", 0.0)
    if measured <= allowed:
        return ""
    return (
        f"The certificate would refuse this machine: 99 % of its inferences take up to {measured:.1f} ms, "
        f"and {allowed:g} ms are allowed."
    )
