"""Check a certificate against everything that it binds, compute its verdict again, and name each difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sim.tasks.task import select
from vla_agent.errors import CertificateError, VlaAgentError
from vla_agent.evaluation.play.player import Player, PlayerSettings
from vla_agent.evaluation.result_store import key_of, read_report
from vla_agent.files.canonical_json import changes
from vla_agent.files.hashing import hash_file
from vla_agent.gate.certificate.bound_files import (
    SIMULATOR,
    contract_parts,
    policy_contract,
    policy_parts,
    simulator_files,
)
from vla_agent.gate.certificate.certificate import Certificate, read_certificate, require_current, require_signed
from vla_agent.gate.certificate.keys import keys_folder, revoked, trusted
from vla_agent.gate.decision.gate_file import load_gate
from vla_agent.gate.decision.judge import judge
from vla_agent.gate.evidence.gate_player import replay_episode
from vla_agent.gate.evidence.ledger import read_ledger

GATE_COPY = "gate.yaml"  # the gate file's bytes, beside the report


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was certified."""

    what: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: certified {_short(self.expected)}, found {_short(self.found)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 70 else text[:67] + "..."


def verify(
    certificate_file: Path,
    policy_folder: Path | None,
    *,
    keys: Path | None = None,
    ledger: Path | None = None,
    simulator: Path = SIMULATOR,
    now: datetime | None = None,
) -> list[Difference]:
    """Everything that differs; [] where the certificate is valid.

    The evidence (report.json, actions.npz, gate.yaml) is read from the certificate's folder.

    Args:
        policy_folder: None for a scripted policy.
        ledger: the ledger that must contain the attempt; None: not checked.
        simulator: folder of the package `sim`.

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
    out = certificate_file.parent
    checks = (
        lambda: _signature(certificate, folder, now),
        lambda: _policy(certificate, policy_folder),
        lambda: _simulator(certificate, simulator),
        lambda: _evidence(certificate, out),
        lambda: _recomputed(certificate, out),
        lambda: _ledger(certificate, ledger),
    )
    return list({str(found): found for check in checks for found in _with_errors(check())}.values())


def _with_errors(differences: Iterator[Difference]) -> Iterator[Difference]:
    """The differences, and the error that ends the check, if any, as one of them."""
    try:
        yield from differences
    except VlaAgentError as error:
        yield _difference(error)


def _difference(error: VlaAgentError) -> Difference:
    where = f" ({error.file})" if error.file else ""
    return Difference(f"{error.key or 'file'}: {error.what}{where}", error.expected, error.found)


def _signature(certificate: Certificate, folder: Path, now: datetime | None) -> Iterator[Difference]:
    require_signed(certificate, trusted(folder))
    require_current(certificate, revoked(folder), now)
    yield from ()


def _policy(certificate: Certificate, folder: Path | None) -> Iterator[Difference]:
    certified = certificate.payload["policy"]
    if folder is None:
        if certified["files"]:
            yield Difference("policy", f"{len(certified['files'])} files", "no policy folder")
        return
    for key, expected, found in changes(certified, policy_parts(folder) | {"name": certified["name"]}):
        yield Difference(f"policy.{key}", expected, found)
    for key, expected, found in changes(certificate.payload["contract"], contract_parts(policy_contract(folder))):
        yield Difference(f"contract.{key}", expected, found)


def _simulator(certificate: Certificate, root: Path) -> Iterator[Difference]:
    for key, expected, found in changes(certificate.payload["simulator"], simulator_files(root)):
        yield Difference(f"simulator.{key}", expected, found)


def _evidence(certificate: Certificate, out: Path) -> Iterator[Difference]:
    evidence = certificate.payload["evidence"]
    for name, expected in (*evidence.items(), (GATE_COPY, certificate.payload["gate"]["sha256"])):
        file = out / name
        found = hash_file(file) if file.is_file() else "no such file"
        if found != expected:
            yield Difference(f"evidence.{name}", expected, found)


def _recomputed(certificate: Certificate, out: Path) -> Iterator[Difference]:
    """The certificate against the report's copy of it, and both against the result of its episodes."""
    payload = certificate.payload
    report = read_report(out / "report.json")
    without_evidence = {k: v for k, v in payload.items() if k != "evidence"}
    for key, expected, found in changes(report.get("certified"), without_evidence):
        yield Difference(f"certificate.{key}", expected, found)
    gate = load_gate(out / GATE_COPY)
    try:
        judgement = judge(gate, report["episodes"], int(payload["attempt"]["number"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        yield Difference("report.json: episodes", "episodes of a gate", f"{type(error).__name__}: {error}")
        return
    for key, expected, found in changes(json.loads(json.dumps(judgement)), report["summary"].get("judgement")):
        yield Difference(f"report.json: summary.judgement.{key}", expected, found)
    for key, expected, found in changes(counts_of(judgement), payload["counts"]):
        yield Difference(f"certificate.counts.{key}", expected, found)
    if judgement["verdict"] != payload["verdict"]:
        yield Difference("certificate.verdict", judgement["verdict"], payload["verdict"])


def counts_of(judgement: dict[str, Any]) -> dict[str, Any]:
    """What a certificate records of the checks."""
    return {name: {key: c[key] for key in ("k", "n", "verdict")} for name, c in judgement["checks"].items()}


def _ledger(certificate: Certificate, file: Path | None) -> Iterator[Difference]:
    if file is None:
        return
    attempt = certificate.payload["attempt"]
    heads = {entry["hash"] for entry in read_ledger(file)}
    if attempt["entry"] not in heads:
        yield Difference("ledger", f"entry {attempt['entry'][:16]}", f"{len(heads)} other entries")


def replay_sample(certificate_file: Path, policy: str, count: int, seed: int) -> list[Difference]:
    """Replay ``count`` random episodes of the report from their actions; those whose bits differ.

    Raises:
        CertificateError: actions.npz cannot be read.
    """
    out = certificate_file.parent
    report, gate = read_report(out / "report.json"), load_gate(out / GATE_COPY)
    rows = report["episodes"]
    chosen = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    different = []
    settings = PlayerSettings(policy, select(list(gate.tasks) or None, gate.suite), gate.split)
    with closing(Player(settings)) as player:
        for row in (rows[i] for i in sorted(chosen)):
            try:
                with np.load(out / "actions.npz", allow_pickle=False) as stored:
                    actions = stored[f"{key_of(row)}/actions"]
                    looks = tuple(int(i) for i in stored[f"{key_of(row)}/looks"])
            except Exception as error:  # numpy and zipfile raise half a dozen kinds for damaged archives
                raise CertificateError(
                    "the episode's actions cannot be read",
                    file=out / "actions.npz",
                    key=key_of(row),
                    expected="the actions.npz that `vla-agent gate` wrote",
                    found=f"{type(error).__name__}: {error}",
                    remedy="get the evidence again",
                ) from error
            result = replay_episode(player, row, actions, looks)
            for name in ("state_hash", "image_hash"):
                if getattr(result, name) != row[name]:
                    different.append(Difference(f"replay {key_of(row)} {name}", row[name], getattr(result, name)))
    return different
