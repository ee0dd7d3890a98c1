"""Lines of JSON that nobody can change, leave out or move unseen: each holds the hash of the one before, and is signed.

The ledger of attempts and the scratch file of a gate that still runs are such lines.  A line's hash is the SHA-256 of
its canonical bytes without signature and hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from vla_agent.files.canonical_json import canonical, digest

SEAL = ("hash", "signature")  # of every line, beside what it says
CHAIN = ("number", "previous", "key")


class Signer(Protocol):
    """The laboratory's key, and whose signatures count; see `vla_agent.gate.certificate.lab_key`."""

    @property
    def fingerprint(self) -> str:
        """Of the key that `sign` signs with."""
        ...

    def sign(self, data: bytes) -> str:
        """A signature over ``data``, in Base64."""
        ...

    def signed(self, key: str, data: bytes, signature: str) -> bool:
        """Whether ``signature`` over ``data`` is of the trusted key with this fingerprint."""
        ...


class BrokenLine(Exception):
    """A line that does not follow; its text says what would."""


def next_line(says: Mapping[str, Any], kind: str, number: int, previous: str, signer: Signer) -> dict[str, Any]:
    """The line that follows ``previous``; ``kind`` keeps a signature of one file from counting in another."""
    body = dict(says) | {"number": number, "previous": previous, "key": signer.fingerprint}
    end = digest(body)
    return body | {"hash": end, "signature": signer.sign(_signed_bytes(kind, end))}


def read_line(line: bytes, kind: str, number: int, previous: str, signer: Signer) -> dict[str, Any]:
    """The entry of one line.

    Raises:
        BrokenLine: it is damaged, does not follow ``previous``, or no trusted key signed it.
    """
    try:
        entry = json.loads(line)
        canonical_line = canonical(entry)
    except (ValueError, TypeError, RecursionError):
        raise BrokenLine("a line of canonical JSON") from None
    if not isinstance(entry, dict) or line != canonical_line:
        raise BrokenLine("a line of canonical JSON")
    missing = [name for name in (*CHAIN, *SEAL) if name not in entry]
    if missing:
        raise BrokenLine(f"a signed line, with {', '.join(missing)}")
    if (entry["number"], entry["previous"]) != (number, previous) or type(entry["number"]) is not int:
        raise BrokenLine(f"line {number}, which follows {previous[:16]}")
    if entry["hash"] != digest({k: v for k, v in entry.items() if k not in SEAL}):
        raise BrokenLine("the hash of what the line says")
    if not signer.signed(str(entry["key"]), _signed_bytes(kind, entry["hash"]), str(entry["signature"])):
        raise BrokenLine("the signature of a trusted key")
    return entry


def shown(line: bytes) -> str:
    """The beginning of a line, for an error."""
    return line[:80].decode(errors="replace")


def _signed_bytes(kind: str, end: str) -> bytes:
    return f"vla-agent {kind} line {end}".encode()
