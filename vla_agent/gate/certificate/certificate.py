"""The certificate: what was evaluated, on what, with which result; signed with Ed25519.

``certificate.json`` is ``{"payload": {...}, "signature": {"algorithm", "key", "value"}}``, written in one way only
(`vla_agent.files.canonical_json.readable`).  The signature is over the canonical bytes of the payload.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vla_agent.errors import CertificateError
from vla_agent.files.canonical_json import canonical, readable
from vla_agent.files.write_aside import write_text
from vla_agent.gate.certificate.keys import Key, fingerprint

FORMAT = 2  # 2: with the execution mode
ALGORITHM = "Ed25519"
PARTS = ("payload", "signature")
SIGNATURE = ("algorithm", "key", "value")
PAYLOAD = (
    *("format", "id", "issued", "expires", "robot", "policy", "contract", "simulator", "gate", "attempt"),
    *("execution", "latency", "versions", "counts", "verdict", "evidence"),
)


@dataclass(frozen=True)
class Certificate:
    """A certificate as it was read."""

    file: Path
    payload: Mapping[str, Any]
    signature: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.payload["id"])


def sign(payload: Mapping[str, Any], private: Ed25519PrivateKey) -> dict[str, Any]:
    """The certificate of a payload."""
    value = base64.b64encode(private.sign(canonical(payload))).decode()
    key = fingerprint(private.public_key())
    return {"payload": payload, "signature": {"algorithm": ALGORITHM, "key": key, "value": value}}


def write_certificate(file: Path, certificate: Mapping[str, Any]) -> None:
    """Write it, whole or not at all."""
    write_text(file, readable(certificate))


def read_certificate(file: Path) -> Certificate:
    """Read a certificate and check its form, not its signature.

    Raises:
        CertificateError: missing, damaged, of another format, or with missing or unknown parts.
    """
    try:
        text = file.read_bytes().decode("utf-8")
        data = json.loads(text)
    except FileNotFoundError as error:
        raise CertificateError(
            "there is no certificate",
            file=file,
            expected="the certificate.json that `vla-agent gate` wrote",
            found="no such file",
            remedy="run vla-agent gate, and copy its output folder to this machine",
        ) from error
    except (OSError, ValueError) as error:
        raise _damaged(file, "certificate.json", "JSON", f"{type(error).__name__}: {error}") from error
    for key, part, names in (("", data, PARTS), ("payload", _get(data, "payload"), PAYLOAD),
                             ("signature", _get(data, "signature"), SIGNATURE)):  # fmt: skip
        if not isinstance(part, dict) or set(part) != set(names):
            found = ", ".join(sorted(part)) if isinstance(part, dict) else type(part).__name__
            wrong = sorted(set(names) ^ set(part)) if isinstance(part, dict) else [key or "certificate.json"]
            raise _damaged(file, ", ".join(f"{key}.{w}".strip(".") for w in wrong), ", ".join(names), found)
    if data["payload"]["format"] != FORMAT:
        raise _damaged(file, "payload.format", FORMAT, data["payload"]["format"])
    if text != readable(data):
        raise _damaged(file, "the file's bytes", "the bytes that `vla-agent gate` wrote", "other bytes, same data")
    return Certificate(file, data["payload"], data["signature"])


def _get(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None


def _damaged(file: Path, key: str, expected: object, found: object) -> CertificateError:
    return CertificateError(
        "the certificate is damaged or was changed",
        file=file,
        key=key,
        expected=expected,
        found=found,
        remedy="get the certificate again, or run the gate again",
    )


def require_signed(certificate: Certificate, trusted: Mapping[str, Key]) -> Key:
    """The trusted key whose signature over the payload is valid.

    Raises:
        CertificateError: another algorithm, a key that is not trusted, or an invalid signature.
    """
    signature, file = certificate.signature, certificate.file
    if signature["algorithm"] != ALGORITHM:
        raise _damaged(file, "signature.algorithm", ALGORITHM, signature["algorithm"])
    key = trusted.get(str(signature["key"]))
    if key is None:
        raise CertificateError(
            "the certificate was not signed by a trusted key",
            file=file,
            key="signature.key",
            expected=", ".join(f"{k.name} {k.fingerprint}" for k in trusted.values())
            or "a trusted key; none is trusted here",
            found=signature["key"],
            remedy="vla-agent keys trust FILE.pub, if you trust its owner",
        )
    try:
        value = base64.b64decode(str(signature["value"]), validate=True)
        if base64.b64encode(value).decode() != signature["value"]:
            raise ValueError("not the canonical Base64 of its bytes")
        key.public.verify(value, canonical(certificate.payload))
    except (InvalidSignature, ValueError) as error:
        expected = f"a signature of {key.name} over the payload"
        raise _damaged(file, "signature.value", expected, "an invalid one") from error
    return key


def require_current(certificate: Certificate, revoked: Mapping[str, str], now: datetime | None = None) -> None:
    """Raise where the certificate has expired, is not valid yet, or was revoked (itself, its key or its policy).

    Raises:
        CertificateError: naming which.
    """
    payload, now = certificate.payload, now or datetime.now(timezone.utc)
    issued, expires = (datetime.fromisoformat(str(payload[k])) for k in ("issued", "expires"))
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
    names = {"id": payload["id"], "key": certificate.signature["key"], "policy": payload["policy"]["digest"]}
    for what, name in names.items():
        if name in revoked:
            raise CertificateError(
                "the certificate was revoked",
                file=certificate.file,
                key=what,
                expected="one that is not in the revocation list",
                found=f"{name}: {revoked[name]}",
                remedy="run the gate again with a policy and a key that are not revoked",
            )
