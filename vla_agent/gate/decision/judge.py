"""From episodes to the verdict: a pure function, so that `vla-agent verify` can compute it again.

The gate passes where every judged check passes, each at level alpha: an intersection-union test (Berger, 1982), whose
false-pass rate is at most alpha without any correction.  The tests whether an axis lowers success are many, of which
any may err, and are corrected by Holm's method.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vla_agent.evaluation.exact_tests import alpha_spent, clopper_pearson, holm, mcnemar
from vla_agent.evaluation.success_statistics import paired_difference
from vla_agent.gate.decision.estimate import estimate, families_of
from vla_agent.gate.decision.gate_file import ORACLE, Gate
from vla_agent.gate.decision.plan import CONTROL, episodes_by_check, sequential_tests

LANGUAGE_LABELS = ("follow", "stubborn", "indecisive", "ignorant")
CHECK_MEANING = {
    "success": "does the instructed task",
    "probe.swap": "follows an instruction for another target of the scene",
    "probe.blank": "does not do the task without an instruction",
    "probe.blind": "does not do the task without images",
    "probe.frozen": "does not do the task from the first image alone",
    "probe.removed": "refrains when the named object was removed",
    "probe.absent": "refrains when an absent object is named",
    "probe.contradict": "refrains when the instruction contradicts the scene",
    ORACLE: "does the instructed task when given the true places of target and goal",
}


def judge(gate: Gate, rows: Sequence[Mapping[str, Any]], attempt: int) -> dict[str, Any]:
    """The report's judgement: ``verdict``, ``reasons``, ``checks``, ``families``, ``estimate``, ``axes``, ``language``.

    ``checks`` holds the numbers at which each test stopped, for the decision.  ``estimate`` is what to quote; it is
    made of ``families``, all unperturbed episodes.
    ``apart`` (`attribute_failures`) where the gate file has the check ``oracle``.
    """
    alpha = alpha_spent(gate.alpha, attempt)
    tests = sequential_tests(gate, alpha)
    checks: dict[str, Any] = {}
    for name, played in episodes_by_check(rows, gate).items():
        outcomes = [bool(r["outcome"]) for r in played]
        spec = gate.checks_by_name()[name]
        if name in tests:
            decision = tests[name].decide(outcomes)
            k, n, verdict = decision.k, decision.n, decision.verdict or "undecided"
            interval = tests[name].interval(decision)
        else:
            k, n, verdict = sum(outcomes), len(outcomes), "reported"
            interval = clopper_pearson(k, n)
        checks[name] = {
            "verdict": verdict,
            "k": k,
            "n": n,
            "rate": k / n if n else None,
            "interval": [float(x) for x in interval],
            "threshold": spec.threshold,
            "margin": spec.margin,
            "alpha": alpha,
            "beta": gate.beta,
            "largest": tests[name].size if name in tests else None,
        }
    families = families_of(gate, rows)
    verdicts = {c["verdict"] for c in checks.values()}
    verdict = "fail" if "fail" in verdicts else "undecided" if "undecided" in verdicts else "pass"
    oracle = {} if gate.checks.oracle is None else {"apart": attribute_failures(_pairs(rows, ORACLE))}
    return {
        "verdict": verdict,
        "reasons": [reason(name, c) for name, c in checks.items() if c["verdict"] in ("fail", "undecided")],
        "checks": checks,
        "families": families,
        "estimate": estimate(families),
        "axes": _axes(gate, rows),
        "language": _language(rows),
        **oracle,
    }


def judged(gate: Gate, rows: Sequence[Mapping[str, Any]], attempt: int) -> dict[str, Any]:
    """The judgement as it stands in a report: plain JSON data, so that both can be compared."""
    data: dict[str, Any] = json.loads(json.dumps(judge(gate, rows, attempt)))
    return data


def reason(name: str, check: Mapping[str, Any]) -> str:
    """One sentence: what was not shown, with its numbers."""
    kind, _, rest = name.partition(".")
    words = rest.replace("_", " ").replace(".", ", severity ")
    by_kind = {"family": f"succeeds in {words}", "delay": f"succeeds with an inference latency of {rest} ms"}
    subject = CHECK_MEANING.get(name) or by_kind.get(kind) or f"succeeds under {words}"
    end = "undecided" if check["verdict"] == "undecided" else f"not shown to be above {100 * check['threshold']:g} %"
    return f"{name}: {subject}: {check['k']} of {check['n']}, {end}"


def _control(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], bool]:
    return {(r["task"], r["seed"]): bool(r["success"]) for r in rows if r["control"] == CONTROL}


def _pairs(rows: Sequence[Mapping[str, Any]], cell: str) -> list[tuple[bool, bool]]:
    """Success in a cell and in the control, of each episode that both have."""
    control = _control(rows)
    places = [(bool(r["success"]), (r["task"], r["seed"])) for r in rows if r["control"] == cell]
    return [(success, control[place]) for success, place in places if place in control]


def _axes(gate: Gate, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per axis: its rate, that of the control on the same seeds, the paired difference, McNemar's p and Holm's."""
    found: dict[str, Any] = {}
    for axis in gate.checks.axes:
        pairs = _pairs(rows, axis.cell)
        difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        found[axis.cell] = {
            "k": sum(a for a, _ in pairs),
            "control_k": sum(b for _, b in pairs),
            **difference,
            "p": mcnemar(difference["only_first"], difference["only_second"]),
        }
    adjusted = holm({name: f["p"] for name, f in found.items()})
    return {name: f | {"holm": adjusted[name]} for name, f in found.items()}


def _language(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pairs of an episode and the same scene with another target named, by the outcome of both."""
    control = _control(rows)
    pairs = [r for r in rows if r["control"] == "probe.swap" and (r["task"], r["seed"]) in control]
    counts = Counter(label(control[r["task"], r["seed"]], bool(r["success"]), bool(r["original"])) for r in pairs)
    n = len(pairs)
    intervals = {name: list(clopper_pearson(counts[name], n)) for name in LANGUAGE_LABELS}
    return {name: {"k": counts[name], "n": n, "interval": intervals[name]} for name in LANGUAGE_LABELS}


def label(first: bool, swapped: bool, original: bool) -> str:
    """After BEAF (Ye-Bin et al., 2024): follow (right both times), stubborn (went for the first target although another
    was instructed), indecisive (right once), ignorant (never right).

    Args:
        first: the first instruction's task was done.
        swapped: the other instruction's task was done.
        original: given the other instruction, the first task was done, or only its object was moved.
    """
    if first and swapped:
        return "follow"
    if original and not swapped:
        return "stubborn"
    return "indecisive" if first or swapped else "ignorant"


def attribute_failures(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """Failures of perception and of control, from successes (with the true places, with the own images) on one seed.

    ``perception``: failures that succeed with the true places; ``control``: failures that remain; each as k of n
    failures with an exact interval.  ``only_second``: successes from the own images only.
    """
    difference = paired_difference([oracle for oracle, _ in pairs], [own for _, own in pairs])
    failures = sum(not own for _, own in pairs)
    counts = {"perception": difference["only_first"], "control": failures - difference["only_first"]}
    return {
        "k": sum(oracle for oracle, _ in pairs),
        "control_k": sum(own for _, own in pairs),
        **difference,
        "p": mcnemar(difference["only_first"], difference["only_second"]),
        **{name: {"k": k, "n": failures, "interval": list(clopper_pearson(k, failures))} for name, k in counts.items()},
    }
