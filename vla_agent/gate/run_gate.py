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
from vla_agent.contract import Contract
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import GateError
from vla_agent.evaluation import provenance
from vla_agent.evaluation.compare_reports import UNPERTURBED, compare_reports, read_base, report_file
from vla_agent.evaluation.exact_tests import alpha_spent
from vla_agent.evaluation.play.player import SCRIPTED, PlayedEpisode, PlayerSettings, load_learned
from vla_agent.evaluation.play.workers import open_workers
from vla_agent.evaluation.report.clips import CLIPS, film
from vla_agent.evaluation.result_store import Store, identity_of
from vla_agent.files.canonical_json import digest
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import contract_parts, policy_contract, policy_parts, simulator_files
from vla_agent.gate.certificate.certificate import FORMAT, sign, write_certificate
from vla_agent.gate.certificate.verify import GATE_COPY, counts_of
from vla_agent.gate.decision.gate_file import ORACLE, Gate, hash_gate, load_gate
from vla_agent.gate.decision.judge import judge
from vla_agent.gate.decision.plan import Planner, sequential_tests
from vla_agent.gate.evidence import inference_latency, ledger
from vla_agent.gate.evidence.attempt import ATTEMPT, Attempt, start_attempt, unfinished_attempt
from vla_agent.gate.evidence.gate_player import play
from vla_agent.gate.evidence.perception_oracle import accepts_oracle_points
from vla_agent.gate.report.failure_clips import choose, film_one
from vla_agent.gate.report.gate_page import page
from vla_agent.policy.execution_settings import Execution

Progress = Callable[[PlayedEpisode, int, int], None]  # an episode, how many are done, how many after this round


@dataclass(frozen=True)
class GateSettings:
    """Which policy is tried against which gate file.  The outcomes depend on the gate file's seed, not on ``workers``.

    Attributes:
        policy: folder or hub id of a learned policy, "expert" or "random".
        suite: the gate file.
        out: folder for report.json, report.html, actions.npz, gate.yaml and certificate.json.
        robot: name of the robot that the certificate is for.
        private: the key that signs it.
        ledger_file: where attempts are counted.
        workers, ray, load: as in `vla_agent.evaluation.evaluate.EvaluationSettings`.
        resume: continue an unfinished run in ``out``, which is no new attempt.
        base: report (or its folder) of the policy that this one was tuned from, shown beside it on the page.
        clips: the most failures that the page shows as videos.
    """

    policy: str
    suite: Path
    out: Path
    robot: str
    private: Ed25519PrivateKey
    ledger_file: Path
    workers: int | None = 1
    ray: str | None = None
    load: Callable[[str], Policy] = load_learned
    resume: bool = False
    base: Path | None = None
    clips: int = CLIPS


@dataclass(frozen=True)
class Candidate:
    """The policy that is tried: its parts as the certificate names them, and its contract."""

    parts: dict[str, Any]
    contract: Contract
    learned: bool


def run_gate(settings: GateSettings, progress: Progress | None = None) -> dict[str, Any]:
    """Run the gate and write its evidence and certificate; the report.

    Raises:
        VlaAgentError: a wrong gate file or policy, another run in ``out``, a broken ledger, a base of other scenes.
    """
    began, out = time.perf_counter(), settings.out
    gate = load_gate(settings.suite)
    _require_free(out)
    candidate = _candidate(settings)
    head = _head(settings, gate, candidate)
    first = UNPERTURBED[0], gate.families()[0], gate.seed
    base = read_base(settings.base, out, head, first) if settings.base else None
    attempt = _attempt(settings, gate, candidate)
    execution = Execution(gate.execution, attempt.delay_ms)
    recorded = {"run": attempt.run, "gate": attempt.gate} | execution.settings()
    planner = _planner(settings, gate, attempt)
    store = Store(out, identity_of(head | {"summary": {"settings": recorded}}), resume=True)
    player = PlayerSettings(settings.policy, planner.families, gate.split, settings.load, execution)
    with closing(store), open_workers(player, settings.workers, settings.ray) as workers:
        while jobs := planner.next_round(list(store.records.values())):
            total = len(store.records) + len(jobs)
            for played in workers.map(play, jobs):
                store.add(played)
                if progress:
                    progress(played, len(store.records), total)
        rows = sorted(store.records.values(), key=lambda r: (r["control"], r["index"]))
        judgement = json.loads(json.dumps(judge(gate, rows, attempt.number)))
        payload = _payload(settings, gate, candidate, attempt, head["versions"], judgement)
        wall = round(time.perf_counter() - began, 2)
        seconds = {"wall": wall, "episodes": round(store.seconds, 2), "workers": workers.count}
        report = head | {
            "gate": gate.model_dump(mode="json"),
            "certified": payload,
            "latency": attempt.measured,
            "attempts": ledger.attempts(ledger.read_ledger(settings.ledger_file), attempt.policy),
            "episodes": rows,
            "summary": {"judgement": judgement, "seconds": seconds, "settings": recorded},
        }
        if settings.base and base:
            report["base"] = compare_reports([out / "report.json", report_file(settings.base)], report, base)
        shutil.copyfile(settings.suite, out / GATE_COPY)
        chosen = choose(rows, judgement["checks"], settings.clips)
        store.finish(report, page(report, film(rows, chosen, store.actions, workers, film_one)))
    _certify(settings, attempt, payload)
    return report


def _require_free(out: Path) -> None:
    """Raise where the output folder holds something that is not an unfinished gate."""
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


def _candidate(settings: GateSettings) -> Candidate:
    learned = settings.policy not in SCRIPTED and settings.load is load_learned
    if not learned:
        parts = {"name": settings.policy, "files": {}, "adapter": [], "normaliser": "",
                 "digest": digest(settings.policy)}  # fmt: skip
        return Candidate(parts, tabletop_contract(), learned)
    folder = find_folder(settings.policy)
    return Candidate({"name": folder.name} | policy_parts(folder), policy_contract(folder), learned)


def _head(settings: GateSettings, gate: Gate, candidate: Candidate) -> dict[str, Any]:
    """The head of the report: policy, suite, split, versions, hashes."""
    tasks = select(list(gate.tasks) or None, gate.suite)
    return {
        "policy": settings.policy,
        "suite": gate.suite,
        "split": gate.split,
        "versions": provenance.versions(candidate.learned),
        "hashes": {
            "policy": candidate.parts["files"],
            "tasks": {name: provenance.hash_file(Path(task.file)) for name, task in tasks.items()},
            "simulator": provenance.hash_simulator(),
            "contract": candidate.contract.hash,
        },
    }


def _attempt(settings: GateSettings, gate: Gate, candidate: Candidate) -> Attempt:
    """The unfinished attempt of the output folder; else a new one, whose latency is measured before it is counted."""
    policy, gate_hash, file = candidate.parts["digest"], hash_gate(settings.suite), settings.ledger_file
    unfinished = unfinished_attempt(settings.out, settings.resume, policy, gate_hash, file)
    return unfinished or start_attempt(settings.out, policy, gate_hash, file, *_latency(settings, gate, candidate))


def _latency(settings: GateSettings, gate: Gate, candidate: Candidate) -> tuple[float, dict[str, Any]]:
    """The delay to simulate, milliseconds, and what was measured.  A scripted policy has no inference."""
    if not candidate.learned:
        return 0.0, {}
    family = next(iter(Planner(gate, {}).families.values()))
    measured = inference_latency.measure(settings.load(settings.policy), family)
    period = 1000.0 / tabletop_contract().control_hz
    return gate.delay_ms if gate.delay_ms is not None else period * math.ceil(measured["p99_ms"] / period), measured


def _planner(settings: GateSettings, gate: Gate, attempt: Attempt) -> Planner:
    """The planner, without the checks that the policy does not admit."""
    tests = sequential_tests(gate, alpha_spent(gate.alpha, attempt.number))
    if settings.policy in SCRIPTED:
        return Planner(gate, tests, excluded=(*(delay.cell for delay in gate.checks.delays), ORACLE))
    with_oracle = ORACLE in gate.checks_by_name() and accepts_oracle_points(settings.load(settings.policy))
    return Planner(gate, tests, excluded=() if with_oracle else (ORACLE,))


def _payload(
    settings: GateSettings,
    gate: Gate,
    candidate: Candidate,
    attempt: Attempt,
    versions: dict[str, Any],
    judgement: dict[str, Any],
) -> dict[str, Any]:
    """The certificate's payload without its evidence."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    alpha = alpha_spent(gate.alpha, attempt.number)
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "issued": now.isoformat(),
        "expires": (now + timedelta(days=gate.validity_days)).isoformat(),
        "robot": settings.robot,
        "policy": candidate.parts,
        "contract": contract_parts(candidate.contract),
        "simulator": simulator_files(),
        "gate": {"name": gate.name, "sha256": attempt.gate, "alpha": gate.alpha, "beta": gate.beta},
        "attempt": {"number": attempt.number, "alpha": alpha, "run": attempt.run, "entry": attempt.entry},
        "execution": gate.execution,
        "latency": {"certified_ms": attempt.delay_ms, "measured_ms": attempt.measured.get("p99_ms", 0.0)},
        "versions": versions,
        "counts": counts_of(judgement),
        "verdict": judgement["verdict"],
    }


def _certify(settings: GateSettings, attempt: Attempt, payload: dict[str, Any]) -> None:
    """Sign the certificate over the evidence in the output folder, and write the end of the attempt to the ledger."""
    evidence = {name: provenance.hash_file(settings.out / name) for name in ("report.json", "actions.npz")}
    certificate = sign(payload | {"evidence": evidence}, settings.private)
    write_certificate(settings.out / "certificate.json", certificate)
    finish = {"event": "finish", "run": attempt.run, "policy": attempt.policy, "gate": attempt.gate}
    end = {"verdict": payload["verdict"], "certificate": payload["id"]}
    ledger.append(settings.ledger_file, finish | end)
