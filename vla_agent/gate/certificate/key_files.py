"""Ed25519 keys (RFC 8032) in one folder: which are trusted, and what they sign.

NAME.key   private, PEM, mode 0600      NAME.pub   its public half, to be carried to robots
trusted/   public keys of others

`vla_agent.gate.certificate.keys` makes and trusts keys, and has the names of this module, too.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vla_agent.errors import CertificateError
from vla_agent.gate.certificate.guarded_files import read_guarded, require_guarded

VARIABLE = "VLA_AGENT_KEYS"
TRUSTED = "trusted"
MOST_BYTES = 16_384  # of a key's file


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
        value = base64.b64decode(signature)
        public.verify(value, data)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return base64.b64encode(value).decode() == signature


def public_pem(public: Ed25519PublicKey) -> bytes:
    """The content of a .pub file."""
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_of(content: bytes, file: Path) -> Ed25519PublicKey:
    """The key in the content of the .pub file ``file``.

    Raises:
        CertificateError: no Ed25519 public key.
    """
    try:
        public = serialization.load_pem_public_key(content)
    except ValueError as error:
        raise unreadable_key(file, error) from error
    if not isinstance(public, Ed25519PublicKey):
        raise unreadable_key(file, TypeError(type(public).__name__))
    return public


def load_private(name: str, folder: Path) -> Ed25519PrivateKey:
    """The private key to sign with.

    Raises:
        CertificateError: it is missing, unreadable, a link, or open to others.
    """
    file = folder / f"{name}.key"
    require_guarded(folder)
    try:
        content = read_guarded(file, MOST_BYTES, secret=True)
    except FileNotFoundError as error:
        raise CertificateError(
            "there is no such key",
            file=file,
            key="--key",
            expected=", ".join(k.name for k in trusted(folder).values() if k.private) or "a key",
            found=name,
            remedy=f"vla-agent keys create {name}",
        ) from error
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise unreadable_key(file, error) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise unreadable_key(file, TypeError(type(private).__name__))
    return private


def trusted(folder: Path) -> dict[str, Key]:
    """Fingerprint -> key: keys made on this machine and those in ``trusted/``.

    Raises:
        CertificateError: one of them cannot be read, or others could have put it there.
    """
    found: dict[str, Key] = {}
    for place in (folder, folder / TRUSTED):
        require_guarded(place)
        for file in sorted(place.glob("*.pub")):
            public = public_of(read_guarded(file, MOST_BYTES), file)
            key = Key(file.stem, fingerprint(public), public, file.with_suffix(".key").is_file())
            found.setdefault(key.fingerprint, key)
    return found


def unreadable_key(file: Path, error: Exception) -> CertificateError:
    """The error for a file that holds no key."""
    return CertificateError(
        "the key cannot be read",
        file=file,
        expected="an Ed25519 key, PEM",
        found=f"{type(error).__name__}: {error}",
        remedy="get the key again",
    )
