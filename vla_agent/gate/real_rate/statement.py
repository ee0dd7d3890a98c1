"""What is signed of real trials: an in-toto statement of its own, which names the certificate that it stands beside.

``real_rate.json`` is a DSSE envelope like a certificate, with another type of predicate, so that neither passes for the
other.  Its subjects are the certified policy's files.  It changes nothing that the gate decided or the robot's nodes
demand.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError, model_validator

from vla_agent.errors import CertificateError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.canonical_json import canonical, changes, readable
from vla_agent.files.write_aside import write_text
from vla_agent.gate.certificate.certificate import Certificate
from vla_agent.gate.certificate.envelope import (
    Envelope,
    Sort,
    damaged,
    damaged_parts,
    open_envelope,
    parse,
    seal,
)
from vla_agent.gate.certificate.statement import PARTS, STATEMENT_TYPE, Count, Hash, Identity, Part, Rate, Time

FOLDER, FILE, TRIALS, SIMULATED = "real_rate", "real_rate.json", "trials.csv", "simulated.json"
FORMAT = 1
PREDICATE_TYPE = "https://vla-agent.example.org/attestations/real-rate/v1"
METHOD = "stratified by the simulated outcome, exact limits (Buehler)"
MOST_BYTES = 2**20
DIGITS = 6  # of a rate; machines may differ in the last of sixteen
STATEMENT = Sort(
    "statement of the real rate", "application/vnd.in-toto+json", "get it again, or run vla-agent bridge --sign again"
)


class CertificatePart(Part):
    """``sha256``: of the certificate's file."""

    id: Identity
    sha256: Hash


class PolicyPart(Part):
    name: str
    digest: Hash


class CountsPart(Part):
    """As `vla_agent.evaluation.bridge.real_rate.Counts`."""

    k1: Count
    n1: Count
    k0: Count
    n0: Count
    m: Count
    simulated: Count


class RowPart(Part):
    """The real rate over one task or all, its interval, and the counts that it was computed from."""

    rate: Rate
    interval: list[Rate] = Field(min_length=2, max_length=2)
    counts: CountsPart

    @model_validator(mode="after")
    def _consistent(self) -> RowPart:
        if not self.interval[0] <= self.rate <= self.interval[1]:
            raise ValueError("the rate is outside its interval")
        return self


class RealRate(Part):
    """What the statement says, apart from the in-toto statement around it; ``evidence``: file -> SHA-256."""

    format: Literal[1]
    id: Identity
    issued: Time
    certificate: CertificatePart
    policy: PolicyPart
    method: str
    level: float = Field(gt=0, lt=1)
    all: RowPart
    tasks: dict[str, RowPart] = Field(min_length=1)
    evidence: dict[str, Hash]


@dataclass(frozen=True)
class Statement:
    """A statement as it was read; ``payload``: its `RealRate`; nothing is verified yet."""

    file: Path
    payload: Mapping[str, Any]
    envelope: Envelope


def real_rate_predicate(report: Mapping[str, Any], certificate: Certificate) -> dict[str, Any]:
    """The predicate of a report of `vla_agent.evaluation.bridge.bridge.bridge` about one policy.

    Raises:
        CertificateError: the report is not about the certified policy.
    """
    certified = certificate.payload["policy"]
    found = [policy["digest"] or "(digest unknown)" for policy in report["policies"]]
    if found != [certified["digest"]]:
        raise CertificateError(
            "the trials are not of the certified policy alone",
            file=certificate.file,
            key="policy.digest",
            expected=certified["digest"],
            found=", ".join(found),
            remedy="give the trials and the simulated episodes of exactly the certified weights",
        )
    policy = report["policies"][0]
    return {
        "format": FORMAT,
        "id": uuid.uuid4().hex,
        "issued": datetime.now(timezone.utc).replace(microsecond=0).isoformat(),
        "certificate": {"id": certificate.id, "sha256": hashlib.sha256(certificate.file.read_bytes()).hexdigest()},
        "policy": {"name": certified["name"], "digest": certified["digest"]},
        "method": METHOD,
        "level": report["level"],
        **rates(policy),
        "evidence": {TRIALS: report["trials"]["sha256"], SIMULATED: policy["simulated"]["sha256"]},
    }


def rates(policy: Mapping[str, Any]) -> dict[str, Any]:
    """``all`` and ``tasks`` of a policy of the report, as a statement has them."""
    return {"all": _row(policy["all"]), "tasks": {name: _row(row) for name, row in policy["tasks"].items()}}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    rate, low, high = (round(x, DIGITS) for x in (row["rate"], *row["interval"]))
    return {"rate": rate, "interval": [low, high], "counts": dict(row["counts"])}


def write_statement(
    file: Path, predicate: Mapping[str, Any], certificate: Certificate, private: Ed25519PrivateKey
) -> None:
    """Sign and write the statement, whole or not at all."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(certificate),
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(predicate),
    }
    write_text(file, readable(seal(STATEMENT, canonical(statement), private)))


def read_statement(file: Path, certificate: Certificate) -> Statement:
    """Read a statement and check its form and its subjects, not its signature.

    Raises:
        CertificateError: missing, damaged, or about the files of another policy than the certificate's.
    """
    try:
        content = read_bytes(file, CertificateError, MOST_BYTES)
    except OSError as error:
        raise CertificateError(
            "there is no statement of the real rate",
            file=file,
            expected="the real_rate.json that `vla-agent bridge --sign` wrote",
            found=error.strerror,
            remedy="vla-agent bridge TRIALS --simulated DIR --certificate CERT --sign --key NAME",
        ) from error
    envelope = open_envelope(STATEMENT, file, content, parse(STATEMENT, file, content))
    statement = parse(STATEMENT, file, envelope.payload)
    if not isinstance(statement, dict) or set(statement) != PARTS:
        raise damaged(STATEMENT, file, "statement", ", ".join(sorted(PARTS)), type(statement).__name__)
    for key, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement[key] != expected:
            raise damaged(STATEMENT, file, key, expected, statement[key])
    try:
        RealRate.model_validate(statement["predicate"])
    except ValidationError as error:
        raise damaged_parts(STATEMENT, file, error) from error
    for key, expected, found in changes(_subjects(certificate), statement["subject"]):
        raise damaged(STATEMENT, file, f"subject.{key}", expected, found)
    if canonical(statement) != envelope.payload:
        raise damaged(STATEMENT, file, "payload", "canonical JSON", "other bytes, same data")
    return Statement(file, statement["predicate"], envelope)


def _subjects(certificate: Certificate) -> list[dict[str, Any]]:
    from vla_agent.gate.certificate.statement import subjects

    return subjects(certificate.payload["policy"])
