"""Policies with a planted fault through a small gate, compared with the rule "ten episodes, mean over 80 %"."""

from __future__ import annotations

from typing import Any

NAME = "gate-planted"
TITLE = "planted policies judged right, for the right reason: four faults and one without"
TARGET = 5.0
UNIT = "of 5"
BETTER = "higher"
NAIVE_EPISODES, NAIVE_MEAN = 10, 0.8
REASONS = {  # fault -> checks of which at least one must fail, and others none
    "none": (),
    "deaf": ("probe.swap", "probe.blank", "probe.removed", "probe.absent", "probe.contradict"),
    "blind": ("probe.blind",),
    "one_camera": ("axis.camera",),
    "one_family": ("family.stack", "success", "axis.", "probe.swap"),
}
NEEDED = {"deaf": "probe.swap", "blind": "probe.blind", "one_camera": "axis.camera", "one_family": "family.stack"}


def run() -> dict[str, Any]:
    import tempfile
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from sim.experts.planted_faults import FAULTS, load_planted
    from vla_agent.evaluation.exact_tests import clopper_pearson
    from vla_agent.gate.run_gate import GateSettings, run_gate

    gate = Path(__file__).parents[2] / "gates" / "planted.yaml"
    rows, right, episodes = [], 0, 0
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            settings = GateSettings(
                f"planted.{fault}",
                gate,
                Path(folder) / "out",
                robot="sim",
                private=Ed25519PrivateKey.generate(),
                ledger_file=Path(folder) / "ledger.jsonl",
                workers=2,
                load=load_planted,
                clips=0,
            )
            report = run_gate(settings)
        judged = report["summary"]["judgement"]
        failed = [name for name, c in judged["checks"].items() if c["verdict"] == "fail"]
        control = [e for e in report["episodes"] if e["control"] == "control"]
        first = sorted(control, key=lambda e: e["index"])[:NAIVE_EPISODES]
        naive = sum(e["success"] for e in first) / len(first) > NAIVE_MEAN
        good = judged["verdict"] == ("pass" if fault == "none" else "fail")
        good &= all(name.startswith(REASONS[fault]) for name in failed) if REASONS[fault] else not failed
        good &= fault == "none" or any(name.startswith(NEEDED[fault]) for name in failed)
        right += good
        episodes += len(report["episodes"])
        rows.append(
            {
                "fault": fault,
                "verdict": judged["verdict"],
                "failed": ", ".join(failed) or "nothing",
                "right": good,
                "naive": "pass" if naive else "fail",
                "naive_right": naive == (fault == "none"),
                "episodes": len(report["episodes"]),
            }
        )
    wrong = [r["fault"] for r in rows if not r["naive_right"]]
    return {
        "value": right,
        "n": episodes,
        "interval": [5 * x for x in clopper_pearson(right, len(rows))],
        "seeds": "derived from each attempt's line in its ledger",
        "rows": rows,
        "notes": f"naive: the first {NAIVE_EPISODES} unperturbed episodes, mean over {NAIVE_MEAN:.0%}; it is wrong on "
        f"{', '.join(wrong) or 'none'}. Policies follow sim/experts/planted_faults.py. n counts episodes",
    }
