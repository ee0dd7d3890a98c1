"""The certificate: what was evaluated, on what, with which result; signed with Ed25519.

``certificate.json`` is a DSSE envelope (`envelope`) around an in-toto statement (`statement`) in canonical JSON, so
that tools that know neither this project nor gates can verify it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from vla_agent.errors import CertificateError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.canonical_json import canonical, changes, digest, readable
from vla_agent.files.policy_files import BASE
from vla_agent.files.write_aside import write_text
from vla_agent.gate.certificate.envelope import (
    Envelope,
    Sort,
    damaged,
    damaged_parts,
    open_envelope,
    parse,
    require_signature,
    seal,
)
from vla_agent.gate.certificate.key_files import Key
from vla_agent.gate.certificate.statement import (
    FORMAT,
    PARTS,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Predicate,
    statement_of,
    subjects,
)

MOST_BYTES = 4 * 2**20
CERTIFICATE = Sort("certificate", "application/vnd.in-toto+json", "get the certificate again, or run the gate again")
OLDER = {"payload", "signature"}  # parts of a certificate of the formats 1 and 2


@dataclass(frozen=True)
class Certificate:
    """A certificate as it was read; `require_signed` says whether its signature is valid.

    Attributes:
        payload: the statement's predicate, see `statement.Predicate`.
    """

    file: Path
    payload: Mapping[str, Any]
    envelope: Envelope

    @property
    def id(self) -> str:
        return str(self.payload["id"])

    @property
    def key(self) -> str:
        """Fingerprint of the key that is said to have signed it."""
        return self.envelope.keyid


def sign(payload: Mapping[str, Any], private: Ed25519PrivateKey) -> dict[str, Any]:
    """The certificate with this predicate."""
    return seal(CERTIFICATE, canonical(statement_of(payload)), private)


def write_certificate(file: Path, certificate: Mapping[str, Any]) -> None:
    """Write it, whole or not at all."""
    write_text(file, readable(certificate))


def read_certificate(file: Path) -> Certificate:
    """Read a certificate and check its form, not its signature.

    Raises:
        CertificateError: missing, damaged, of another format, or with missing, unknown or inconsistent parts.
    """
    try:
        content = read_bytes(file, CertificateError, MOST_BYTES)
    except FileNotFoundError as error:
        raise CertificateError(
            "there is no certificate",
            file=file,
            expected="the certificate.json that `vla-agent gate` wrote",
            found="no such file",
            remedy="run vla-agent gate, and copy its output folder to this machine",
        ) from error
    except OSError as error:
        raise damaged(CERTIFICATE, file, file.name, "a file", f"{type(error).__name__}: {error.strerror}") from error
    data = parse(CERTIFICATE, file, content)
    if isinstance(data, dict) and set(data) == OLDER:
        raise _older(file, data)
    envelope = open_envelope(CERTIFICATE, file, content, data)
    return Certificate(file, _predicate(envelope), envelope)


def _older(file: Path, data: Mapping[str, Any]) -> CertificateError:
    inside = data["payload"]
    found = f"format {inside['format']}" if isinstance(inside, dict) and "format" in inside else "no DSSE envelope"
    return CertificateError(
        "the certificate is of an older format, which binds neither the robot file nor the ledger's line",
        file=file,
        key="format",
        expected=f"format {FORMAT}: an in-toto statement in a DSSE envelope",
        found=found,
        remedy="run the gate again with this release",
    )


def _predicate(envelope: Envelope) -> dict[str, Any]:
    file, statement = envelope.file, parse(CERTIFICATE, envelope.file, envelope.payload)
    if not isinstance(statement, dict) or set(statement) != PARTS:
        found = ", ".join(sorted(statement)) if isinstance(statement, dict) else type(statement).__name__
        raise damaged(CERTIFICATE, file, "statement", ", ".join(sorted(PARTS)), found)
    for key, expected in (("_type", STATEMENT_TYPE), ("predicateType", PREDICATE_TYPE)):
        if statement[key] != expected:
            raise damaged(CERTIFICATE, file, key, expected, statement[key])
    predicate = statement["predicate"]
    try:
        Predicate.model_validate(predicate)
    except ValidationError as error:
        raise damaged_parts(CERTIFICATE, file, error) from error
    for key, expected, found in changes(subjects(predicate["policy"]), statement["subject"]):
        raise damaged(CERTIFICATE, file, f"subject.{key}", expected, found)
    if canonical(statement) != envelope.payload:
        raise damaged(CERTIFICATE, file, "payload", "canonical JSON", "other bytes, same data")
    return predicate


def require_signed(certificate: Certificate, trusted: Mapping[str, Key]) -> Key:
    """The trusted key whose signature over the certificate is valid.

    Raises:
        CertificateError: a key that is not trusted, or an invalid signature.
    """
    return require_signature(certificate.envelope, trusted)


def require_current(certificate: Certificate, revoked: Mapping[str, str], now: datetime | None = None) -> None:
    """Raise where the certificate has expired, is not valid yet, or was revoked, or what it is about was.

    Args:
        revoked: identity -> reason, see `revocations.revoked`: of certificates, keys, policies, files, gate files.
        now: with its offset from UTC (default: the clock).

    Raises:
        CertificateError: naming which.
    """
    payload, now = certificate.payload, now or datetime.now(timezone.utc)
    issued, expires = (datetime.fromisoformat(payload[k]) for k in ("issued", "expires"))
    if not issued <= now < expires:
        late = now >= expires
        raise CertificateError(
            f"the certificate {'has expired' if late else 'is not valid yet'}",
            file=certificate.file,
            key="expires" if late else "issued",
            expected=f"a time from {payload['issued']} to {payload['expires']}",
            found=now.isoformat(timespec="seconds"),
            remedy="run the gate again" if late else "set this machine's clock",
        )
    for what, name in _revocable(certificate):
        if name in revoked:
            raise CertificateError(
                "the certificate was revoked",
                file=certificate.file,
                key=what,
                expected="one that is not in the revocation list",
                found=f"{name}: {revoked[name]}",
                remedy="run the gate again with a policy and a key that are not revoked",
            )


def _revocable(certificate: Certificate) -> Iterator[tuple[str, str]]:
    payload = certificate.payload
    yield "id", certificate.id
    yield "key", certificate.key
    yield "policy", payload["policy"]["digest"]
    yield "gate", payload["gate"]["sha256"]
    files = payload["policy"]["files"]
    for name, sha256 in files.items():
        yield f"policy.files.{name}", sha256
    while files := {name.removeprefix(BASE): sha256 for name, sha256 in files.items() if name.startswith(BASE)}:
        yield "policy.base", digest(files)  # of an adapter: the policy that it was tuned from
