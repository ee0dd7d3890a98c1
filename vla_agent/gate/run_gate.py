"""Run a gate: count the attempt, play rounds of episodes until every check is decided, judge, write, sign."""

from __future__ import annotations

import json
import math
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sim.policies import Policy
from sim.tasks.task import select
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import GateError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.compare_reports import PLAIN, compare_reports, read_base, report_file
from vla_agent.evaluation.exact_tests import spent
from vla_agent.evaluation.play.player import SCRIPTED, Played, PlayerSettings, load_learned
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.report.clips import CLIPS, film
from vla_agent.evaluation.result_store import Store, identity_of
from vla_agent.files.canonical_json import digest, write_aside
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import contract_parts, policy_contract, policy_parts, simulator_files
from vla_agent.gate.certificate.certificate import FORMAT, sign, write_certificate
from vla_agent.gate.certificate.verify import GATE_COPY, counts_of
from vla_agent.gate.decision.gate_file import ORACLE, Gate, hash_gate, load_gate
from vla_agent.gate.decision.judge import judge
from vla_agent.gate.decision.plan import Planner, sequential_tests
from vla_agent.gate.evidence import inference_latency, ledger
from vla_agent.gate.evidence.gate_player import play
from vla_agent.gate.evidence.perception_oracle import takes_truth
from vla_agent.gate.report.failure_clips import choose, film_one
from vla_agent.gate.report.gate_page import page
from vla_agent.policy.execution_settings import Execution

ATTEMPT = "attempt.json"


@dataclass(frozen=True)
class Attempt:
    """A run of a gate, from its first start on."""

    run: str
    number: int
    entry: str  # hash of its line in the ledger
    delay_ms: float
    measured: dict[str, Any]
    policy: str  # digest
    gate: str  # SHA-256


def run_gate(
    policy: str,
    suite: Path,
    out: Path,
    *,
    robot: str,
    private: Ed25519PrivateKey,
    ledger_file: Path,
    workers: int | None = 1,
    resume: bool = False,
    progress: Callable[[Played, int, int], None] | None = None,
    load: Callable[[str], Policy] = load_learned,
    base: Path | None = None,
    clips: int = CLIPS,
    ray: str | None = None,
) -> dict[str, Any]:
    """Write report.json, report.html, actions.npz, gate.yaml and certificate.json into ``out``; the report.

    The outcomes depend on the gate file's seed, not on ``workers``.  With ``resume`` an unfinished run in ``out`` goes
    on and is no new attempt.

    Args:
        robot: name of the robot that the certificate is for.
        load: makes the policy of a name that is not "expert" or "random"; a function that can be pickled.
        base: report (or its folder) of the policy that this one was tuned from, to stand beside it on the page.
        clips: most failures that the page shows in motion.
        workers, ray: as in `vla_agent.evaluation.evaluate.evaluate`.

    Raises:
        VlaAgentError: a wrong gate file or policy, another run in ``out``, a broken ledger, a base of other scenes.
    """
    began = time.perf_counter()
    gate = load_gate(suite)
    taken = [n for n in ("certificate.json", "report.json", ".partial") if (out / n).exists()]
    if "certificate.json" in taken or (taken and not (out / ATTEMPT).exists()):
        raise GateError(
            f"the output folder holds {'a finished gate' if 'certificate.json' in taken else 'something else'}",
            file=out,
            key="--out",
            expected="an empty folder, or an unfinished gate with --resume",
            found=", ".join(taken),
            remedy="vla-agent verify checks it; name another folder for a new attempt",
        )
    learned = policy not in SCRIPTED and load is load_learned
    folder = find_folder(policy) if learned else None
    parts: dict[str, Any] = {"name": policy if folder is None else folder.name} | (
        policy_parts(folder)
        if folder is not None
        else {"files": {}, "adapter": [], "normaliser": "", "digest": digest(policy)}
    )
    contract = policy_contract(folder) if folder is not None else tabletop_contract()
    head: dict[str, Any] = {
        "policy": policy,
        "suite": gate.suite,
        "split": gate.split,
        "versions": provenance.versions(learned),
        "hashes": {
            "policy": parts["files"],
            "tasks": {
                n: provenance.hash_file(Path(f.file)) for n, f in select(list(gate.tasks) or None, gate.suite).items()
            },
            "simulator": provenance.hash_simulator(),
            "contract": contract.hash,
        },
    }
    theirs = read_base(base, out, head, (PLAIN[0], gate.families()[0], gate.seed)) if base else None
    attempt = _attempt(out, resume, parts["digest"], suite, ledger_file, lambda: _latency(policy, gate, load, learned))
    alpha = spent(gate.alpha, attempt.number)
    told = ORACLE in gate.judged() and policy not in SCRIPTED and takes_truth(load(policy))
    untimed = tuple(d.cell for d in gate.checks.delays) if policy in SCRIPTED else ()  # they think in no time
    planner = Planner(gate, sequential_tests(gate, alpha), without=untimed + (() if told else (ORACLE,)))
    execution = Execution(gate.execution, attempt.delay_ms)
    settings = {"run": attempt.run, "gate": attempt.gate} | execution.settings()
    store = Store(out, identity_of(head | {"summary": {"settings": settings}}), resume=True)
    setting = PlayerSettings(policy, planner.families, gate.split, load, execution)
    with closing(store), open_workers(setting, workers, ray) as pool:
        while jobs := planner.round(list(store.records.values())):
            total = len(store.records) + len(jobs)
            for played in pool.map(play, jobs):
                store.add(played)
                if progress:
                    progress(played, len(store.records), total)
        rows = sorted(store.records.values(), key=lambda r: (r["control"], r["index"]))
        judged = json.loads(json.dumps(judge(gate, rows, attempt.number)))
        payload = _payload(robot, parts, contract_parts(contract), gate, attempt, alpha, head["versions"], judged)
        wall = round(time.perf_counter() - began, 2)
        seconds = {"wall": wall, "episodes": round(store.seconds, 2), "workers": pool.count}
        summary = {"judgement": judged, "seconds": seconds, "settings": settings}
        report = head | {
            "gate": gate.model_dump(mode="json"),
            "certified": payload,
            "latency": attempt.measured,
            "attempts": ledger.attempts(ledger.read_ledger(ledger_file), attempt.policy),
            "episodes": rows,
            "summary": summary,
        }
        if base and theirs:
            report["base"] = compare_reports([out / "report.json", report_file(base)], report, theirs)
        shutil.copyfile(suite, out / GATE_COPY)
        shown = film(rows, choose(rows, judged["checks"], clips), store.actions, pool, film_one)
        store.finish(report, page(report, shown))
    evidence = {name: provenance.hash_file(out / name) for name in ("report.json", "actions.npz")}
    write_certificate(out / "certificate.json", sign(payload | {"evidence": evidence}, private))
    ledger.append(
        ledger_file,
        {"event": "finish", "run": attempt.run, "policy": attempt.policy, "gate": attempt.gate,
         "verdict": judged["verdict"], "certificate": payload["id"]},
    )  # fmt: skip
    return report


def _latency(policy: str, gate: Gate, load: Callable[[str], Policy], learned: bool) -> tuple[float, dict[str, Any]]:
    """The delay to simulate, milliseconds, and what was measured.  Scripted policies think in no time."""
    if not learned:
        return 0.0, {}
    family = next(iter(Planner(gate, {}).families.values()))
    measured = inference_latency.measure(load(policy), family)
    period = 1000.0 / tabletop_contract().control_hz
    return gate.delay_ms if gate.delay_ms is not None else period * math.ceil(measured["p99_ms"] / period), measured


def _attempt(
    out: Path,
    resume: bool,
    policy: str,
    suite: Path,
    ledger_file: Path,
    delay: Callable[[], tuple[float, dict[str, Any]]],
) -> Attempt:
    """The attempt of ``out``: the one that is unfinished there, or a new one, which is counted before it plays."""
    file, gate = out / ATTEMPT, hash_gate(suite)
    if file.exists():
        earlier = Attempt(**json.loads(file.read_text(encoding="utf-8")))
        same = (earlier.policy, earlier.gate) == (policy, gate)
        if not resume or not same:
            raise GateError(
                "the output folder holds an unfinished gate" + ("" if same else " of another policy or gate file"),
                file=out,
                key="--out",
                expected="an empty folder" + (", or --resume" if same else ""),
                found=f"attempt {earlier.number}, run {earlier.run}",
                remedy="add --resume to go on with it" if same else "name another folder",
            )
        if earlier.run not in ledger.starts(ledger.read_ledger(ledger_file), policy):
            raise GateError(
                "the unfinished gate does not stand in the ledger",
                file=ledger_file,
                key="--ledger",
                expected=f"run {earlier.run}",
                found="no such start",
                remedy="name the ledger that it was started with",
            )
        return earlier
    delay_ms, measured = delay()
    run = uuid.uuid4().hex
    entry = ledger.append(ledger_file, {"event": "start", "run": run, "policy": policy, "gate": gate})
    number = ledger.starts(ledger.read_ledger(ledger_file), policy).index(run) + 1
    attempt = Attempt(run, number, entry["hash"], delay_ms, measured, policy, gate)
    out.mkdir(parents=True, exist_ok=True)
    write_aside(file, json.dumps(attempt.__dict__, indent=1) + "\n")
    return attempt


def _payload(
    robot: str,
    policy: dict[str, Any],
    contract: dict[str, Any],
    gate: Gate,
    attempt: Attempt,
    alpha: float,
    versions: dict[str, Any],
    judged: dict[str, Any],
) -> dict[str, Any]:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "issued": now.isoformat(),
        "expires": (now + timedelta(days=gate.validity_days)).isoformat(),
        "robot": robot,
        "policy": policy,
        "contract": contract,
        "simulator": simulator_files(),
        "gate": {"name": gate.name, "sha256": attempt.gate, "alpha": gate.alpha, "beta": gate.beta},
        "attempt": {"number": attempt.number, "alpha": alpha, "run": attempt.run, "entry": attempt.entry},
        "execution": gate.execution,
        "latency": {"certified_ms": attempt.delay_ms, "measured_ms": attempt.measured.get("p99_ms", 0.0)},
        "versions": versions,
        "counts": counts_of(judged),
        "verdict": judged["verdict"],
    }
