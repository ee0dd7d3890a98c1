"""``report.html`` of a gate: one self-contained page, which works offline and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vla_agent.evaluation.compare_reports import sentence as base_sentence
from vla_agent.evaluation.exact_tests import clopper_pearson
from vla_agent.evaluation.report.clips import Clip
from vla_agent.evaluation.report.template import interval, page_template, percent
from vla_agent.gate.decision.judge import LANGUAGE_LABELS
from vla_agent.gate.decision.plan import CONTROL, delay_of
from vla_agent.gate.report.failure_clips import failure_text
from vla_agent.gate.report.wording import (
    condition,
    counted,
    for_trying_out,
    headline,
    latency_refusal,
    share,
    strength_of_evidence,
    title_of,
    verdict_sentence,
)

LABEL_MEANING = {
    "follow": "did both instructed tasks",
    "stubborn": "given another target, went for the first one",
    "indecisive": "did one of the two instructed tasks",
    "ignorant": "did neither of the two instructed tasks",
}
GROUPS = (
    (
        "Success",
        "On scenes that nobody knew before the attempt was counted. Each test's own sample, up to where it stopped; "
        "the numbers above count all unperturbed episodes.",
        ("success", "family."),
    ),
    ("Robustness to perturbations", "Compared with the same seeds unperturbed.", ("axis.",)),
    ("Use of instruction and images", "Counterfactual pairs on the same scene and seed.", ("probe.",)),
)
FAILURES_SHOWN, HARDEST = 20, 8


def page(report: Mapping[str, Any], clips: Sequence[Clip] = ()) -> str:
    """The page's text."""
    judgement, episodes, base = report["summary"]["judgement"], report["episodes"], report.get("base")
    checks = judgement["checks"]
    return page_template(Path(__file__).with_name("gate_template.html")).render(
        report=report,
        judgement=judgement,
        certified=report["certified"],
        verdict=verdict_sentence(report),
        headline=headline(judgement),
        strength=strength_of_evidence(judgement),
        for_trying_out=for_trying_out(judgement),
        latency_refusal=latency_refusal(report),
        cards=_cards(report),
        groups=[
            (title, note, [(title_of(n), n, c) for n, c in checks.items() if n.startswith(kinds)])
            for title, note, kinds in GROUPS
        ],
        controls={name: a for name, a in judgement["axes"].items() if a["n"]},
        labels=[(name, LABEL_MEANING[name], judgement["language"][name]) for name in LANGUAGE_LABELS],
        delays=_delays(report),
        oracle=judgement.get("apart"),
        base=base,
        base_sentence=base_sentence(base, "this policy", "its base") if base else "",
        base_rows=_base_rows(base) if base else [],
        base_conditions=[(title_of(n), base["conditions"][n]) for n in checks if n in base["conditions"]]
        if base
        else [],
        clips=clips,
        failures=[e for e in episodes if e["control"] == CONTROL and not e["success"]][:FAILURES_SHOWN],
        hardest=hardest(episodes),
        attempts=[
            a | {"verdict": judgement["verdict"]} if a["run"] == report["certified"]["attempt"]["run"] else a
            for a in report["attempts"]
        ],
        title_of=title_of,
        condition=condition,
        failure_text=failure_text,
    )


def _cards(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The few numbers to read first: name, verdict, the number, and its counts."""
    judgement = report["summary"]["judgement"]
    checks, language = judgement["checks"], judgement["language"]

    def card(name: str, check: Mapping[str, Any], of: str = "") -> dict[str, Any]:
        small = (f"{of}: " if of else "") + _unbroken(f"{check['k']} of {check['n']}", interval(check["interval"]))
        return {"name": name, "verdict": check["verdict"], "big": percent(check["rate"]), "small": small}

    cards = _estimate_cards(judgement)
    axes = {n: a for n, a in judgement["axes"].items() if a["n"]}
    found = [n for n in axes if checks[n]["threshold"] is not None] or list(axes)  # judged checks come first
    if found:
        worst = min(found, key=lambda n: (axes[n]["k"] / axes[n]["n"], n))
        k, n = axes[worst]["k"], axes[worst]["n"]
        all_played = {"k": k, "n": n, "rate": k / n, "interval": clopper_pearson(k, n)}
        cards.append(card("worst perturbation", checks[worst] | all_played, condition(worst)))
    pairs = language["follow"]
    rate = {"rate": pairs["k"] / pairs["n"] if pairs["n"] else None, "verdict": checks["probe.swap"]["verdict"]}
    cards.append(card("follows its instruction", pairs | rate, "pairs"))
    return [*cards, _latency_card(report)]


def _estimate_cards(judgement: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Success, and the worst family, over all unperturbed episodes; with the verdicts of their checks."""
    estimate, families, checks = judgement["estimate"], judgement["families"], judgement["checks"]
    if estimate["rate"] is None:
        return [{"name": "success", "verdict": "open", "big": "-", "small": "a family was not played"}]
    k, n = (sum(f[key] for f in families.values()) for key in ("k", "n"))
    worst = estimate["worst_family"]
    verdict = "reported" if for_trying_out(judgement) else checks["success"]["verdict"]
    parts = (
        (f"success, mean of {counted(families)}", verdict, estimate["rate"], k, n, estimate["interval"], ""),
        ("worst family", checks[f"family.{worst['name']}"]["verdict"], worst["k"] / worst["n"], worst["k"], worst["n"],
         worst["interval"], f"{worst['name'].replace('_', ' ')}: "),
    )  # fmt: skip
    return [
        {"name": name, "verdict": v, "big": share(rate), "small": of + _unbroken(f"{k} of {n}", interval(pair))}
        for name, v, rate, k, n, pair, of in parts
    ]


def _unbroken(*parts: str) -> str:
    """Parts that do not break over lines."""
    return ", ".join(part.replace(" ", "\u00a0") for part in parts)


def _latency_card(report: Mapping[str, Any]) -> dict[str, Any]:
    measured, refused = report["latency"], bool(latency_refusal(report))
    small = f"99 % under {measured['p99_ms']:.1f} ms here" if measured else "scripted policy: no inference"
    return {
        "name": "allowed inference latency",
        "verdict": "fail" if refused else "reported",
        "big": f"{report['certified']['latency']['certified_ms']:g} ms",
        "small": small + (": this machine would be refused" if refused else ""),
    }


def _delays(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Points of the latency curve, that of the control among them; [] where no other latency was played."""
    checks = report["summary"]["judgement"]["checks"]
    points = [
        {"ms": delay_of(name), "certified": False} | c for name, c in checks.items() if delay_of(name) is not None
    ]
    points = [p for p in points if p["n"]]
    if not points:
        return []
    control = [e["success"] for e in report["episodes"] if e["control"] == CONTROL]
    k, n = sum(control), len(control)
    own = {"ms": report["certified"]["latency"]["certified_ms"], "certified": True, "verdict": "reported"}
    points.append(own | {"k": k, "n": n, "interval": clopper_pearson(k, n)})
    most = max(p["ms"] for p in points) or 1.0
    places = [{"x": round(100 * p["ms"] / most, 2), "y": round(100 - 100 * p["k"] / p["n"], 2)} for p in points]
    return sorted((p | place for p, place in zip(points, places, strict=True)), key=lambda p: (p["ms"], p["certified"]))


def hardest(episodes: Sequence[Mapping[str, Any]], count: int = HARDEST) -> list[dict[str, Any]]:
    """Scenes (task and seed) with wrong outcomes under two conditions or more, those with the most first."""
    scenes: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for e in episodes:
        scenes.setdefault((e["task"], e["seed"]), []).append(e)
    found: list[dict[str, Any]] = [
        {
            "task": task,
            "seed": seed,
            "n": len(rows),
            "wrong": [condition(e["control"]) for e in rows if not e["outcome"]],
        }
        for (task, seed), rows in scenes.items()
    ]
    found.sort(key=lambda s: (-len(s["wrong"]), s["task"], s["seed"]))
    return [s for s in found if len(s["wrong"]) > 1][:count]


def _base_rows(base: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows = [("all unperturbed", base["overall"] | {"verdict": base["verdict"]})]
    return rows + [(name.replace("_", " "), row) for name, row in base["families"].items()]
