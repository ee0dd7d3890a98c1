"""Ed25519 keys (RFC 8032), trusted keys and the revocation list: files in one folder.

NAME.key   private, PEM, mode 0600      NAME.pub         its public half, to be carried to robots
trusted/   public keys of others        revoked.jsonl    one line for each revoked certificate, key or policy
                                        ledger.jsonl     attempts of gates (`vla_agent.gate.evidence.ledger`)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vla_agent.errors import CertificateError
from vla_agent.files.write_aside import write_bytes

VARIABLE = "VLA_AGENT_KEYS"
LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Key:
    """A public key; ``private``: its private half is on this machine, too."""

    name: str
    fingerprint: str
    public: Ed25519PublicKey
    private: bool


def keys_folder() -> Path:
    """``$VLA_AGENT_KEYS``, or ``vla-agent/keys`` in the user's configuration folder."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "vla-agent" / "keys"


def default_ledger(gate_file: Path) -> Path:
    """The ledger of attempts: beside the gate file where older releases left one there, else in `keys_folder`."""
    earlier = gate_file.with_name(LEDGER)
    return earlier if earlier.exists() else keys_folder() / LEDGER


def fingerprint(public: Ed25519PublicKey) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of the raw public key."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:32]


def sign_bytes(private: Ed25519PrivateKey, data: bytes) -> str:
    """Signature over ``data``, in Base64.  Data of another kind must begin otherwise, or be of another form."""
    return base64.b64encode(private.sign(data)).decode()


def verify_bytes(public: Ed25519PublicKey, data: bytes, signature: str) -> bool:
    """Whether ``signature`` is that of ``data``, in the one Base64 that `sign_bytes` writes."""
    try:
        value = base64.b64decode(signature, validate=True)
        public.verify(value, data)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return base64.b64encode(value).decode() == signature


def create(name: str, folder: Path) -> Key:
    """Make a key pair.  Nothing is ever overwritten.

    Raises:
        CertificateError: an invalid name, or the key exists.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise CertificateError(
            "the key's name is invalid",
            key="NAME",
            expected="letters, digits, . _ -",
            found=name,
            remedy="choose a plain name, such as lab",
        )
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file, content, mode in ((f"{name}.key", pem, 0o600), (f"{name}.pub", _pem(private.public_key()), 0o644)):
        try:
            handle = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise CertificateError(
                "a key of that name exists",
                file=folder / file,
                expected="a new name",
                found=name,
                remedy="choose another name; keys are never overwritten",
            ) from error
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    return Key(name, fingerprint(private.public_key()), private.public_key(), True)


def _pem(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public(file: Path) -> Ed25519PublicKey:
    """Raises: CertificateError: no Ed25519 public key."""
    try:
        public = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(public, Ed25519PublicKey):
        raise _unreadable(file, TypeError(type(public).__name__))
    return public


def load_private(name: str, folder: Path) -> Ed25519PrivateKey:
    """The private key to sign with.

    Raises:
        CertificateError: it is missing, unreadable, or readable by others.
    """
    file = folder / f"{name}.key"
    if not file.is_file():
        raise CertificateError(
            "there is no such key",
            file=file,
            key="--key",
            expected=", ".join(k.name for k in trusted(folder).values() if k.private) or "a key",
            found=name,
            remedy=f"vla-agent keys create {name}",
        )
    if file.stat().st_mode & 0o077:
        raise CertificateError(
            "other users can read the private key",
            file=file,
            key="permissions",
            expected="0600",
            found=oct(file.stat().st_mode & 0o777),
            remedy="chmod 600; if somebody may have read it, revoke it and make a new one",
        )
    try:
        private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _unreadable(file, TypeError(type(private).__name__))
    return private


def _unreadable(file: Path, error: Exception) -> CertificateError:
    return CertificateError(
        "the key cannot be read",
        file=file,
        expected="an Ed25519 key, PEM",
        found=f"{type(error).__name__}: {error}",
        remedy="get the key again",
    )


def trust(file: Path, folder: Path) -> Key:
    """Trust the public key in ``file`` from now on.

    Raises:
        CertificateError: no key, or another trusted key has that name.
    """
    public = read_public(file)
    target = folder / "trusted" / f"{file.stem}.pub"
    if target.exists() and fingerprint(read_public(target)) != fingerprint(public):
        raise CertificateError(
            "another key of that name is trusted",
            file=target,
            expected=fingerprint(read_public(target)),
            found=fingerprint(public),
            remedy="rename your file, or remove the trusted key first",
        )
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(target, _pem(public))
    return Key(file.stem, fingerprint(public), public, False)


def trusted(folder: Path) -> dict[str, Key]:
    """Fingerprint -> key: keys made on this machine and those in ``trusted/``.

    Raises:
        CertificateError: one of them cannot be read.
    """
    found: dict[str, Key] = {}
    for file in sorted([*folder.glob("*.pub"), *(folder / "trusted").glob("*.pub")]):
        public = read_public(file)
        key = Key(file.stem, fingerprint(public), public, file.with_suffix(".key").is_file())
        found.setdefault(key.fingerprint, key)
    return found


def revoke(name: str, reason: str, folder: Path) -> None:
    """Revoke a certificate's id, a key's fingerprint or a policy's digest: appended, never removed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with (folder / "revoked.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"revoked": name, "reason": reason, "time": when}) + "\n")


def revoked(folder: Path) -> Mapping[str, str]:
    """What was revoked -> the reason.

    Raises:
        CertificateError: the list is damaged; then nothing can be trusted.
    """
    file = folder / "revoked.jsonl"
    if not file.exists():
        return {}
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
        return {str(line["revoked"]): str(line["reason"]) for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CertificateError(
            "the revocation list is damaged",
            file=file,
            expected="lines with revoked, reason and time",
            found=f"{type(error).__name__}: {error}",
            remedy="get the list again; until then every certificate is refused",
        ) from error
