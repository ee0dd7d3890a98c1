"""Making and trusting keys, in one folder.  `key_files` reads them.

NAME.key   private, PEM, mode 0600      NAME.pub           its public half, to be carried to robots
trusted/   public keys of others        revoked.json       what was revoked (`revocations`)
demands/   of robots (`demands`)        ledger.jsonl       attempts of gates (`vla_agent.gate.evidence.ledger`)
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vla_agent.errors import CertificateError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.write_aside import write_bytes
from vla_agent.gate.certificate.guarded_files import make_guarded, require_guarded
from vla_agent.gate.certificate.key_files import (
    MOST_BYTES,
    TRUSTED,
    VARIABLE,
    Key,
    fingerprint,
    keys_folder,
    load_private,
    public_of,
    public_pem,
    sign_bytes,
    trusted,
    unreadable_key,
    verify_bytes,
)
from vla_agent.gate.certificate.revocations import LIST, OLDER, SEEN, init_list, revoke, revoked

__all__ = [
    "VARIABLE",
    "Key",
    "create",
    "default_ledger",
    "fingerprint",
    "keys_folder",
    "load_private",
    "read_public",
    "revoke",
    "revoked",
    "sign_bytes",
    "trust",
    "trusted",
    "verify_bytes",
]
LEDGER = "ledger.jsonl"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def default_ledger() -> Path:
    """The ledger of attempts, in `keys_folder`."""
    return keys_folder() / LEDGER


def create(name: str, folder: Path) -> Key:
    """Make a key pair, and the signed revocation list where there is none yet.  Nothing is ever overwritten.

    Raises:
        CertificateError: an invalid name, the key exists, or others can write in the folder.
    """
    _require_name(name, "NAME")
    require_guarded(folder)
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    make_guarded(folder)
    for file, content, mode in ((f"{name}.key", pem, 0o600), (f"{name}.pub", public_pem(private.public_key()), 0o644)):
        try:
            handle = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
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
        (folder / file).chmod(mode)
    if not any(os.path.lexists(folder / file) for file in (LIST, SEEN, OLDER)):
        init_list(folder, private)
    return Key(name, fingerprint(private.public_key()), private.public_key(), True)


def _require_name(name: str, key: str) -> None:
    if not NAME.fullmatch(name):
        raise CertificateError(
            "the key's name is invalid",
            key=key,
            expected="letters, digits, . _ -",
            found=name,
            remedy="choose a plain name, such as lab",
        )


def read_public(file: Path) -> Ed25519PublicKey:
    """The key in a .pub file that somebody sent.

    Raises:
        CertificateError: no Ed25519 public key.
    """
    try:
        content = read_bytes(file, CertificateError, MOST_BYTES)
    except OSError as error:
        raise unreadable_key(file, error) from error
    return public_of(content, file)


def trust(file: Path, folder: Path) -> Key:
    """Trust the public key in ``file`` from now on.

    Raises:
        CertificateError: no key, an invalid name, or another trusted key has that name.
    """
    public = read_public(file)
    _require_name(file.stem, "FILE")
    target = folder / TRUSTED / f"{file.stem}.pub"
    for place in (folder, target.parent):
        require_guarded(place)
    if target.exists() and fingerprint(read_public(target)) != fingerprint(public):
        raise CertificateError(
            "another key of that name is trusted",
            file=target,
            expected=fingerprint(read_public(target)),
            found=fingerprint(public),
            remedy="rename your file, or remove the trusted key first",
        )
    for place in (folder, target.parent):
        make_guarded(place)
    write_bytes(target, public_pem(public))
    target.chmod(0o644)
    return Key(file.stem, fingerprint(public), public, False)
