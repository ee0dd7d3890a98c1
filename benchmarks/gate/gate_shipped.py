"""The shipped policy through the whole default gate, with 2 workers: its time, and every check's evidence."""

from __future__ import annotations

import os
from typing import Any

NAME = "gate-shipped"
TITLE = "the shipped policy through the whole default gate, 2 workers; the verdict is in the notes, good or bad"
TARGET = 30.0
UNIT = "min"
BETTER = "lower"
WORKERS = 2


def run() -> dict[str, Any]:
    """Runs once per checkpoint, simulator and gate file; later calls read that run's report.

    Where its folder was removed it is another attempt, which the ledger counts and the notes name, and which is held to
    stricter tests.

    The benchmark's key and ledger are its own, so that a measurement is no attempt of a laboratory.  An interrupted one
    goes on with the same attempt.
    """
    from benchmarks.shared.evaluations import POLICY, ROOT
    from vla_agent.evaluation.result_store import read_report
    from vla_agent.files.canonical_json import digest
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.bound_files import policy_files, simulator_files
    from vla_agent.gate.certificate.certificate import FORMAT
    from vla_agent.gate.decision.gate_file import hash_gate
    from vla_agent.gate.report.wording import headline
    from vla_agent.gate.run_gate import GateSettings, run_gate

    file = ROOT / "gates" / "tabletop.yaml"
    identity = digest([policy_files(POLICY), simulator_files(), hash_gate(file), FORMAT])
    out = ROOT / "runs" / "bench" / f"gate-{identity[:12]}"
    if not (out / "certificate.json").exists():
        own = ROOT / "runs" / "bench" / "keys"
        if not (own / "benchmarks.key").exists():
            keys.create("benchmarks", own)
        settings = GateSettings(
            os.path.relpath(POLICY),
            file,
            out,
            robot="sim",
            private=keys.load_private("benchmarks", own),
            ledger_file=own / "ledger.jsonl",
            workers=WORKERS,
            resume=(out / "attempt.json").exists(),
        )
        run_gate(settings, progress=_show)
    report = read_report(out / "report.json")
    judged, seconds = report["summary"]["judgement"], report["summary"]["seconds"]
    return {
        "value": seconds["wall"] / 60,
        "n": len(report["episodes"]),
        "interval": None,
        "seeds": f"{report['certified']['attempt']['seed']} and on, derived from policy, gate file and ledger",
        "rows": [_row(name, check) for name, check in judged["checks"].items()],
        "notes": f"verdict: {judged['verdict']}; {'; '.join(judged['reasons']) or 'every judged check passed'}. "
        f"{headline(judged)}. {_attempts(report)}. "
        f"Certified latency {report['certified']['latency']['certified_ms']:g} ms; n counts "
        f"episodes, which took {seconds['episodes']:.0f} s of the two workers' time",
    }


def _attempts(report: dict[str, Any]) -> str:
    """The attempts with this checkpoint: this one, whose verdict is not in the ledger yet, and those before."""
    number = report["certified"]["attempt"]["number"]
    earlier = [
        f"attempt {a['number']}: {a['verdict'] or 'not finished'}" for a in report["attempts"] if a["number"] < number
    ]
    return "; ".join([f"Attempt {number} with this checkpoint", *earlier])


def _show(played: Any, done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f"gate-shipped: {done}/{total} episodes of this round and the earlier ones", flush=True)


def _row(name: str, check: dict[str, Any]) -> dict[str, Any]:
    low, high = check["interval"]
    return {"check": name, "verdict": check["verdict"], "k": check["k"], "n": check["n"], "low": low, "high": high,
            "threshold": check["threshold"], "margin": check["margin"]}  # fmt: skip
