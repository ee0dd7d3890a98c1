"""Check a certificate against everything that it binds, compute its numbers again, and name each difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sim.policies import Policy
from sim.tasks.task import select
from vla_agent.environments.tabletop import TabletopChoice
from vla_agent.errors import CertificateError, VlaAgentError
from vla_agent.evaluation.play.player import SCRIPTED, PlayerSettings, load_learned
from vla_agent.evaluation.result_store import read_report
from vla_agent.files.hashing import hash_file
from vla_agent.files.policy_files import hash_policy_files
from vla_agent.gate.certificate.bound_files import (
    SIMULATOR,
    contract_parts,
    policy_contract,
    policy_parts,
    served_parts,
    simulator_files,
)
from vla_agent.gate.certificate.certificate import Certificate, read_certificate, require_current, require_signed
from vla_agent.gate.certificate.keys import LEDGER, keys_folder, revoked, trusted
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.certificate.statement import gate_predicate
from vla_agent.gate.decision.gate_file import read_gate
from vla_agent.gate.decision.plan import task_files
from vla_agent.gate.evidence.attempt import Attempt
from vla_agent.gate.evidence.ledger import Entry, attempts, read_ledger
from vla_agent.gate.evidence.played_actions import ACTIONS
from vla_agent.gate.recheck import recompute
from vla_agent.gate.recheck.difference import Difference, differences
from vla_agent.gate.recheck.retrace_sample import choose, retrace_rows
from vla_agent.policy.execution_settings import Execution
from vla_agent.policy.sources import metadata_of

GATE_COPY = "gate.yaml"  # the gate file's bytes, beside the report
DRAWN = ("id", "issued", "expires")  # parts of a certificate that nothing else gives


@dataclass(frozen=True)
class _Case:
    """What is checked: the certificate, the folder of its evidence, and what it is checked with."""

    certificate: Certificate
    policy: Path | None
    keys: Path
    ledger: Path
    simulator: Path
    now: datetime | None
    server: str

    @property
    def out(self) -> Path:
        return self.certificate.file.parent

    @property
    def payload(self) -> Mapping[str, Any]:
        return self.certificate.payload


def verify(
    certificate_file: Path,
    policy_folder: Path | None,
    *,
    keys: Path | None = None,
    ledger: Path | None = None,
    simulator: Path = SIMULATOR,
    now: datetime | None = None,
    server: str = "",
) -> list[Difference]:
    """Everything that differs; [] where the certificate is valid.

    The evidence (report.json, actions.npz, gate.yaml, ledger.jsonl) is read from the certificate's folder.

    Args:
        policy_folder: None for a scripted policy.
        ledger: the ledger that must contain the attempt; None: `ledger_of`.
        simulator: folder of the package `sim`.
        server: address of the server of a policy whose files lie in ``policy_folder``; empty: it is not served.

    Raises:
        CertificateError: there is no certificate, or the trusted keys cannot be read.
    """
    try:
        certificate = read_certificate(certificate_file)
    except CertificateError as error:
        if not certificate_file.exists():
            raise
        return [_difference(error)]
    folder = keys or keys_folder()
    ledger = ledger or ledger_of(certificate_file, folder)
    case = _Case(certificate, policy_folder, folder, ledger, simulator, now, server)
    found = [
        d for check in (_signature, _policy, _simulator, _evidence, _recomputed) for d in _with_errors(check(case))
    ]
    return list({str(difference): difference for difference in found}.values())


def ledger_of(certificate_file: Path, keys: Path) -> Path:
    """The copy of the ledger beside the evidence; where there is none, the ledger in the folder of the keys."""
    copy = certificate_file.with_name(LEDGER)
    return copy if copy.is_file() else keys / LEDGER


def _with_errors(found: Iterator[Difference]) -> Iterator[Difference]:
    """The differences, and the error that ends the check, if any, as one of them."""
    try:
        yield from found
    except VlaAgentError as error:
        yield _difference(error)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        yield Difference("report.json", "a gate's report", f"{type(error).__name__}: {error}")


def _difference(error: VlaAgentError) -> Difference:
    where = f" ({error.file})" if error.file else ""
    return Difference(f"{error.key or 'file'}: {error.what}{where}", error.expected, error.found)


def _signature(case: _Case) -> Iterator[Difference]:
    require_signed(case.certificate, trusted(case.keys))
    require_current(case.certificate, revoked(case.keys), case.now)
    yield from ()


def _policy(case: _Case) -> Iterator[Difference]:
    certified = case.payload["policy"]
    if case.policy is None:
        if certified["files"]:
            yield Difference("policy", f"{len(certified['files'])} files", "no policy folder")
        return
    if case.server:
        served = metadata_of(case.server)
        parts, contract = served_parts(served, case.policy, case.server), served.contract
    else:
        files = hash_policy_files(case.policy)
        parts, contract = policy_parts(files), policy_contract(files)
    yield from differences("policy", certified, parts | {"name": certified["name"]})
    yield from differences("contract", case.payload["contract"], contract_parts(contract))


def _simulator(case: _Case) -> Iterator[Difference]:
    yield from differences("simulator", case.payload["simulator"], simulator_files(case.simulator))


def _evidence(case: _Case) -> Iterator[Difference]:
    evidence = case.payload["evidence"]
    for name, expected in (*evidence.items(), (GATE_COPY, case.payload["gate"]["sha256"])):
        file = case.out / name
        found = hash_file(file) if file.is_file() else "no such file"
        if found != expected:
            yield Difference(f"evidence.{name}", expected, found)


def _recomputed(case: _Case) -> Iterator[Difference]:
    """Every number of certificate and report, from gate file, ledger and episodes."""
    payload, learned = case.payload, bool(case.payload["policy"]["files"])
    report, gate = read_report(case.out / "report.json"), read_gate(case.out / GATE_COPY).gate
    certified = {key: value for key, value in payload.items() if key != "evidence"}
    yield from differences("certificate", report.get("certified"), certified)
    entries = read_ledger(case.ledger, LabKey(trusted(case.keys)))
    attempt = recompute.attempt_in(entries, payload["attempt"]["run"])
    if attempt is None:
        yield Difference(f"ledger ({case.ledger})", f"the start of run {payload['attempt']['run']}", "no such line")
        return
    yield from recompute.check_attempt(attempt, entries, gate, learned)
    yield from recompute.check_end(entries, attempt.run, payload["verdict"], payload["id"])
    wrong = list(recompute.check_rows(gate, report["episodes"]))
    yield from wrong
    if wrong:
        return
    yield from recompute.check_plan(gate, attempt, report, learned)
    judgement, found = recompute.check_judgement(gate, attempt, report)
    yield from found
    yield from _certified_numbers(payload, gate, attempt, judgement)
    stated = {
        "attempts": attempts(_up_to(entries, report.get("ledger")), attempt.policy),
        "latency": attempt.measured,
        "gate": gate.model_dump(mode="json"),
        "versions": payload["versions"],
        "hashes.policy": payload["policy"]["files"],
        "hashes.contract": payload["contract"]["sha256"],
        "hashes.tasks": task_files(gate),
    }
    told = report | {f"hashes.{key}": value for key, value in report["hashes"].items()}
    yield from differences("report.json", stated, {key: told.get(key) for key in stated})


def _up_to(entries: Sequence[Entry], last: object) -> Sequence[Entry]:
    """The ledger as the report saw it: up to the line with the hash ``last``."""
    place = next((number for number, entry in enumerate(entries, 1) if entry["hash"] == last), 0)
    return entries[:place]


def _certified_numbers(
    payload: Mapping[str, Any], gate: Any, attempt: Attempt, judgement: Mapping[str, Any]
) -> Iterator[Difference]:
    """The certificate's parts, as the gate would write them from what was computed again."""
    expected = gate_predicate(
        robot=payload["robot"],
        policy=payload["policy"] | {"digest": attempt.policy},
        contract=payload["contract"],
        simulator=payload["simulator"],
        gate=gate,
        attempt=attempt,
        head={"versions": payload["versions"], "hashes": {"tasks": task_files(gate)}},
        judgement=judgement,
    )
    issued = datetime.fromisoformat(payload["issued"])
    expires = (issued + timedelta(days=gate.validity_days)).isoformat()
    drawn = {key: payload[key] for key in DRAWN} | {"expires": expires}
    found = {key: value for key, value in payload.items() if key != "evidence"}
    yield from differences("certificate", expected | drawn, found)


def replay_sample(
    certificate_file: Path, policy: str, count: int, seed: int, load: Callable[[str], Policy] = load_learned
) -> list[Difference]:
    """Replay ``count`` random episodes of the report, while the policy says what it would have done; what differs.

    Args:
        policy: folder or name of the policy, loaded by ``load``; other files than the certified ones are refused.
    """
    certificate, out = read_certificate(certificate_file), certificate_file.parent
    report, gate = read_report(out / "report.json"), read_gate(out / GATE_COPY).gate
    learned = load is load_learned and policy not in SCRIPTED
    loader = partial(load_learned, expected=certificate.payload["policy"]["digest"]) if learned else load
    execution = Execution(gate.execution, certificate.payload["latency"]["certified_ms"])
    families = select(list(gate.tasks) or None, gate.suite)
    settings = PlayerSettings(policy, TabletopChoice(families, gate.split), loader, execution)
    rows = choose(report["episodes"], count, seed)
    return list(_with_errors(retrace_rows(rows, out / ACTIONS, settings)))
