"""Plan, judgement, attempt and latency of a gate, computed again from gate file, ledger and episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.evaluation.exact_tests import alpha_spent
from vla_agent.evaluation.result_store import key_of
from vla_agent.gate.decision.gate_file import ORACLE, Gate
from vla_agent.gate.decision.judge import judged
from vla_agent.gate.decision.plan import CONTROL, Planner, sequential_tests, variation_of
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.attempt import Attempt, attempt_of
from vla_agent.gate.evidence.gate_player import NOT_DONE, REFRAIN
from vla_agent.gate.evidence.inference_latency import certified_delay
from vla_agent.gate.recheck.difference import Difference, differences

ROW = {"control": str, "task": str, "seed": int, "index": int, "success": bool, "outcome": bool, "actions_hash": str}


def attempt_in(entries: Sequence[ledger.Entry], run: str) -> Attempt | None:
    """The attempt that the ledger's first start of a run began; None where there is none."""
    start = next(ledger.of_run(entries, run, ledger.START), None)
    return None if start is None else attempt_of(entries, start)


def check_attempt(attempt: Attempt, entries: Sequence[ledger.Entry], gate: Gate, learned: bool) -> Iterator[Difference]:
    """The ledger's lines of the attempt: never aborted, and the latency that its measurement and gate file give."""
    for entry in ledger.of_run(entries, attempt.run, ledger.ABORTED):
        yield Difference("ledger.aborted", "a gate that ended", entry.get("reason"))
    delay = certified_delay(gate, attempt.measured, tabletop_contract().control_hz)
    if attempt.delay_ms != delay:
        yield Difference("ledger.delay_ms", delay, attempt.delay_ms)
    if bool(attempt.measured) != learned:
        expected = "a measured latency" if learned else "no latency: a scripted policy has no inference"
        yield Difference("ledger.measured", expected, attempt.measured)


def check_end(entries: Sequence[ledger.Entry], run: str, verdict: str, certificate: str) -> Iterator[Difference]:
    """The ledger's last line of the attempt: one, which names this certificate and its verdict."""
    ends = [(e.get("verdict"), e.get("certificate")) for e in ledger.of_run(entries, run, ledger.FINISH)]
    if ends != [(verdict, certificate)]:
        yield Difference("ledger.finish", f"{verdict}, certificate {certificate}", ends or "no such line")


def check_plan(gate: Gate, attempt: Attempt, report: Mapping[str, Any], learned: bool) -> Iterator[Difference]:
    """The episodes: exactly those that the planner asks for with this attempt's seeds, given their outcomes."""
    excluded = tuple(report.get("excluded", ()))
    allowed = {ORACLE} if learned else {ORACLE, *(delay.cell for delay in gate.checks.delays)}
    if not set(excluded) <= allowed:
        yield Difference("report.json: excluded", sorted(allowed), excluded)
    tests = sequential_tests(gate, alpha_spent(gate.alpha, attempt.number))
    planner = Planner(gate, tests, attempt.seed, excluded)
    rows = {key_of(row): row for row in report["episodes"]}
    if len(rows) < len(report["episodes"]):
        yield Difference("report.json: episodes", "each episode once", f"{len(report['episodes']) - len(rows)} twice")
    planned: set[str] = set()
    try:
        for jobs in planner.rounds(rows):
            planned |= {job.key for job in jobs}
            wrong = [(job, rows[job.key]["index"]) for job in jobs if rows[job.key]["index"] != job.index]
            if wrong:  # such a row would be planned for ever
                yield Difference(f"report.json: {wrong[0][0].key} index", wrong[0][0].index, wrong[0][1])
                return
    except KeyError as missing:
        yield Difference("report.json: episodes", f"the planned {missing.args[0]}", "no such episode")
        return
    for key in sorted(set(rows) - planned):
        yield Difference("report.json: episodes", "no episode that was not planned", key)


def check_rows(gate: Gate, rows: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """Each row's form, and its outcome as success and condition give it; a replay checks the success itself."""
    cells = {CONTROL, *(name for name in gate.checks_by_name() if name != "success" and not name.startswith("family."))}
    places = {"control": cells, "task": set(gate.families())}
    for number, row in enumerate(rows):
        wrong = [name for name, sort in ROW.items() if type(row.get(name)) is not sort]
        wrong += [name for name, known in places.items() if name not in wrong and row[name] not in known]
        if wrong:
            yield Difference(f"report.json: episodes.{number}", "an episode of a gate", f"wrong {', '.join(wrong)}")
            continue
        variation = variation_of(row["control"])
        name = "" if variation is None else variation.name
        wanted = row["outcome"] if name in REFRAIN else (row["success"] != (name in NOT_DONE))
        if row["outcome"] != wanted:
            yield Difference(f"report.json: {key_of(row)} outcome", wanted, row["outcome"])


def check_judgement(gate: Gate, attempt: Attempt, report: Mapping[str, Any]) -> tuple[dict[str, Any], list[Difference]]:
    """The judgement of the report's episodes, and where the report's own differs."""
    judgement = judged(gate, report["episodes"], attempt.number)
    stated = report["summary"].get("judgement")
    return judgement, list(differences("report.json: summary.judgement", judgement, stated))
