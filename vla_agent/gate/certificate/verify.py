"""Check a certificate against everything that it binds, and compute its verdict again; name whatever differs."""

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
from vla_agent.gate.evidence.gate_player import play_again
from vla_agent.gate.evidence.ledger import read_ledger

GATE_COPY = "gate.yaml"  # the gate file's bytes, beside the report


@dataclass(frozen=True)
class Change:
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
) -> list[Change]:
    """Everything that differs; [] where the certificate holds.

    The evidence (report.json, actions.npz, gate.yaml) lies beside the certificate.

    Args:
        policy_folder: None for a scripted policy.
        ledger: the ledger in which the attempt must stand; None leaves it out.
        simulator: folder of the package `sim`.

    Raises:
        CertificateError: there is no certificate, or its list of keys cannot be read.
    """
    try:
        certificate = read_certificate(certificate_file)
    except CertificateError as error:
        if not certificate_file.exists():
            raise
        return [_change(error)]
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
    return list({str(change): change for check in checks for change in _named(check())}.values())


def _named(changes: Iterator[Change]) -> Iterator[Change]:
    """The changes, an error that ends them among them."""
    try:
        yield from changes
    except VlaAgentError as error:
        yield _change(error)


def _change(error: VlaAgentError) -> Change:
    where = f" ({error.file})" if error.file else ""
    return Change(f"{error.key or 'file'}: {error.what}{where}", error.expected, error.found)


def _signature(certificate: Certificate, folder: Path, now: datetime | None) -> Iterator[Change]:
    require_signed(certificate, trusted(folder))
    require_current(certificate, revoked(folder), now)
    yield from ()


def _policy(certificate: Certificate, folder: Path | None) -> Iterator[Change]:
    certified = certificate.payload["policy"]
    if folder is None:
        if certified["files"]:
            yield Change("policy", f"{len(certified['files'])} files", "no folder was given")
        return
    for key, expected, found in changes(certified, policy_parts(folder) | {"name": certified["name"]}):
        yield Change(f"policy.{key}", expected, found)
    for key, expected, found in changes(certificate.payload["contract"], contract_parts(policy_contract(folder))):
        yield Change(f"contract.{key}", expected, found)


def _simulator(certificate: Certificate, root: Path) -> Iterator[Change]:
    for key, expected, found in changes(certificate.payload["simulator"], simulator_files(root)):
        yield Change(f"simulator.{key}", expected, found)


def _evidence(certificate: Certificate, out: Path) -> Iterator[Change]:
    evidence = certificate.payload["evidence"]
    for name, expected in (*evidence.items(), (GATE_COPY, certificate.payload["gate"]["sha256"])):
        file = out / name
        found = hash_file(file) if file.is_file() else "no such file"
        if found != expected:
            yield Change(f"evidence.{name}", expected, found)


def _recomputed(certificate: Certificate, out: Path) -> Iterator[Change]:
    """The certificate against the report's copy of it, and both against what the episodes say."""
    payload = certificate.payload
    report = read_report(out / "report.json")
    mine = {k: v for k, v in payload.items() if k != "evidence"}
    for key, expected, found in changes(report.get("certified"), mine):
        yield Change(f"certificate.{key}", expected, found)
    gate = load_gate(out / GATE_COPY)
    try:
        judged = judge(gate, report["episodes"], int(payload["attempt"]["number"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        yield Change("report.json: episodes", "episodes of a gate", f"{type(error).__name__}: {error}")
        return
    for key, expected, found in changes(json.loads(json.dumps(judged)), report["summary"].get("judgement")):
        yield Change(f"report.json: summary.judgement.{key}", expected, found)
    for key, expected, found in changes(counts_of(judged), payload["counts"]):
        yield Change(f"certificate.counts.{key}", expected, found)
    if judged["verdict"] != payload["verdict"]:
        yield Change("certificate.verdict", judged["verdict"], payload["verdict"])


def counts_of(judged: dict[str, Any]) -> dict[str, Any]:
    """What a certificate says of the checks."""
    return {name: {key: c[key] for key in ("k", "n", "verdict")} for name, c in judged["checks"].items()}


def _ledger(certificate: Certificate, file: Path | None) -> Iterator[Change]:
    if file is None:
        return
    attempt = certificate.payload["attempt"]
    heads = {entry["hash"] for entry in read_ledger(file)}
    if attempt["entry"] not in heads:
        yield Change("ledger", f"entry {attempt['entry'][:16]}", f"{len(heads)} other entries")


def replay_sample(certificate_file: Path, policy: str, count: int, seed: int) -> list[Change]:
    """Play ``count`` random episodes of the report again from their actions; those whose bits differ.

    Raises:
        CertificateError: actions.npz cannot be read.
    """
    out = certificate_file.parent
    report, gate = read_report(out / "report.json"), load_gate(out / GATE_COPY)
    rows = report["episodes"]
    chosen = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    different = []
    setting = PlayerSettings(policy, select(list(gate.tasks) or None, gate.suite), gate.split)
    with closing(Player(setting)) as player:
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
            result = play_again(player, row, actions, looks)
            for name in ("state_hash", "image_hash"):
                if getattr(result, name) != row[name]:
                    different.append(Change(f"replay {key_of(row)} {name}", row[name], getattr(result, name)))
    return different
