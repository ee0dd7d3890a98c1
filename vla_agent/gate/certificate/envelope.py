"""Signed files: DSSE envelopes (github.com/secure-systems-lab/dsse, version 1) with exactly one Ed25519 signature.

``{"payload": Base64, "payloadType": type, "signatures": [{"keyid": fingerprint, "sig": Base64}]}``, written in one way
only (`vla_agent.files.canonical_json.readable`).  The signature is over the type and the payload's bytes (`pae`), so
that a signed file of one type never passes as one of another type.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from vla_agent.errors import CertificateError, wrong_keys
from vla_agent.files.bounded_reading import parse_json
from vla_agent.files.canonical_json import readable
from vla_agent.gate.certificate.key_files import Key, fingerprint, sign_bytes, verify_bytes

PARTS = {"payload", "payloadType", "signatures"}
SIGNATURE = {"keyid", "sig"}
LONGEST = 2000  # characters of an error about a foreign file


@dataclass(frozen=True)
class Sort:
    """A sort of signed file: its name in errors, its payload type, and what to do where one is damaged."""

    name: str
    payload_type: str
    remedy: str


@dataclass(frozen=True)
class Envelope:
    """An envelope as it was read; nothing is verified yet."""

    sort: Sort
    file: Path
    payload: bytes
    keyid: str
    sig: str


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(sort: Sort, payload: bytes, private: Ed25519PrivateKey) -> dict[str, Any]:
    """The envelope of a payload."""
    sig = sign_bytes(private, pae(sort.payload_type, payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": sort.payload_type,
        "signatures": [{"keyid": fingerprint(private.public_key()), "sig": sig}],
    }


def parse(sort: Sort, file: Path, content: bytes) -> Any:
    """The JSON in a signed file's ``content``, or in its payload.

    Raises:
        CertificateError: no JSON in UTF-8, a key twice, a number that is not finite, or nested too deeply.
    """
    try:
        return parse_json(content, file, CertificateError)
    except (ValueError, RecursionError) as error:
        raise damaged(sort, file, file.name, "JSON", f"{type(error).__name__}: {error}") from error


def open_envelope(sort: Sort, file: Path, content: bytes, data: Any) -> Envelope:
    """The envelope in a file's ``content``, parsed as ``data`` (`parse`).

    Raises:
        CertificateError: missing or unknown parts, another type, not one signature, other bytes than `seal` makes.
    """
    if not isinstance(data, dict) or set(data) != PARTS:
        wrong = sorted(PARTS ^ set(data)) if isinstance(data, dict) else [file.name]
        raise damaged(sort, file, ", ".join(wrong), ", ".join(sorted(PARTS)), _keys_of(data))
    if data["payloadType"] != sort.payload_type:
        raise damaged(sort, file, "payloadType", sort.payload_type, data["payloadType"])
    signatures = data["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        found = len(signatures) if isinstance(signatures, list) else type(signatures).__name__
        raise damaged(sort, file, "signatures", "exactly one signature", found)
    signature = signatures[0]
    if not isinstance(signature, dict) or set(signature) != SIGNATURE:
        raise damaged(sort, file, "signatures.0", ", ".join(sorted(SIGNATURE)), _keys_of(signature))
    for key, value in (("payload", data["payload"]), *signature.items()):
        if not isinstance(value, str):
            raise damaged(sort, file, key, "text", type(value).__name__)
    try:
        payload = base64.b64decode(data["payload"])
    except (binascii.Error, ValueError) as error:
        raise damaged(sort, file, "payload", "Base64", str(error)) from error
    if base64.b64encode(payload).decode() != data["payload"]:
        raise damaged(sort, file, "payload", "the one Base64 of its bytes", "another")
    if content != readable(data).encode():
        raise damaged(sort, file, "the file's bytes", "the bytes that were written", "other bytes, same data")
    return Envelope(sort, file, payload, signature["keyid"], signature["sig"])


def require_signature(envelope: Envelope, trusted: Mapping[str, Key]) -> Key:
    """The trusted key that signed the envelope.

    Raises:
        CertificateError: a key that is not trusted, or an invalid signature.
    """
    key = trusted.get(envelope.keyid)
    if key is None:
        raise CertificateError(
            f"the {envelope.sort.name} was not signed by a trusted key",
            file=envelope.file,
            key="signatures.0.keyid",
            expected=", ".join(f"{k.name} {k.fingerprint}" for k in trusted.values())
            or "a trusted key; none is trusted here",
            found=envelope.keyid,
            remedy="vla-agent keys trust FILE.pub, if you trust its owner",
        )
    if not verify_bytes(key.public, pae(envelope.sort.payload_type, envelope.payload), envelope.sig):
        expected = f"a signature of {key.name} over the payload"
        raise damaged(envelope.sort, envelope.file, "signatures.0.sig", expected, "an invalid one")
    return key


def damaged(sort: Sort, file: Path, key: str, expected: object, found: object) -> CertificateError:
    """The error for a file that is not as it was written."""
    return CertificateError(
        f"the {sort.name} is damaged or was changed",
        file=file,
        key=key,
        expected=expected,
        found=found,
        remedy=sort.remedy,
    )


def damaged_parts(sort: Sort, file: Path, error: ValidationError) -> CertificateError:
    """The error for a payload with wrong parts, which names all of them as far as there is room."""
    wrong = {name: text[:LONGEST] for name, text in wrong_keys(error).items()}
    return damaged(sort, file, wrong["key"], f"the parts of a {sort.name} of this release", wrong["found"])


def _keys_of(data: Any) -> str:
    return ", ".join(map(str, sorted(data))) if isinstance(data, dict) else type(data).__name__
