"""What was revoked: a signed list with a counter, whose absence is an error.

``revoked.json`` is a DSSE envelope that a trusted key signed.  It only grows: its counter never falls, and what it once
named stays in it.  ``revoked.seen.json`` holds the newest list that this machine has seen, so that an older one, or one
without some of its entries, is refused.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError

from vla_agent.errors import CertificateError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.canonical_json import canonical, readable
from vla_agent.files.write_aside import write_text
from vla_agent.gate.certificate.envelope import (
    Sort,
    damaged,
    damaged_parts,
    open_envelope,
    parse,
    require_signature,
    seal,
)
from vla_agent.gate.certificate.guarded_files import read_guarded, require_guarded
from vla_agent.gate.certificate.key_files import Key, fingerprint, load_private, trusted
from vla_agent.gate.certificate.statement import Hash, Identity, Part, Time

LIST, SEEN, OLDER = "revoked.json", "revoked.seen.json", "revoked.jsonl"
MOST_BYTES = 4 * 2**20
CLOCKS = timedelta(minutes=10)  # by which two machines' clocks may differ
IMPORT = "vla-agent keys import-revocations FILE, with the newest revoked.json of whoever signs certificates"
SORT = Sort(
    "revocation list",
    "application/vnd.vla-agent.revocations+json",
    f"{IMPORT}; until then every certificate is refused",
)


class Entry(Part):
    """Why and when something was revoked."""

    reason: str
    time: Time


class RevocationList(Part):
    """``revoked``: certificate's id, key's fingerprint, policy's digest, or SHA-256 of a file -> why and when."""

    format: Literal[1] = 1
    counter: int = Field(ge=1)
    issued: Time
    revoked: dict[Identity | Hash, Entry]


@dataclass(frozen=True)
class SignedList:
    """A list, the fingerprint of the trusted key that signed it, and its file's content."""

    list: RevocationList
    key: str
    content: bytes


def revoked(folder: Path, now: datetime | None = None) -> Mapping[str, str]:
    """What was revoked -> the reason, of the list in the folder of the keys.

    Args:
        now: with its offset from UTC (default: the clock).

    Raises:
        CertificateError: there is no list, or it is damaged, older than one that was seen, from the future, not signed
            by a trusted key, or others could have written it.  Then no certificate counts.
    """
    current, seen = _current(folder)
    now = now or datetime.now(timezone.utc)
    if datetime.fromisoformat(current.list.issued) > now + CLOCKS:
        raise CertificateError(
            "this machine's clock is behind the revocation list",
            file=folder / LIST,
            key="issued",
            expected=f"a time before {now.isoformat(timespec='seconds')}",
            found=current.list.issued,
            remedy="set this machine's clock",
        )
    if current.list != seen and os.access(folder, os.W_OK):
        _remember(folder, current.list)
    return {name: entry.reason for name, entry in current.list.revoked.items()}


def _current(folder: Path) -> tuple[SignedList, RevocationList]:
    """The list in the folder, and the newest that was seen: the same, or one that it follows."""
    _require_no_older_list(folder)
    file = folder / LIST
    try:
        content = read_guarded(file, MOST_BYTES)
    except FileNotFoundError as error:
        raise CertificateError(
            "there is no revocation list",
            file=file,
            expected="the signed list, which may be empty",
            found="no such file",
            remedy=f"{IMPORT}; where the key was made: vla-agent keys init-revocations",
        ) from error
    current, seen = open_list(content, file, trusted(folder)), _seen(folder)
    if seen is None:
        raise CertificateError(
            "it is not known which revocation list this machine saw last",
            file=folder / SEEN,
            expected=f"the record that is written beside {LIST}",
            found="no such file",
            remedy=IMPORT,
        )
    _require_follows(current, seen, file)
    return current, seen


def _require_no_older_list(folder: Path) -> None:
    if os.path.lexists(folder / OLDER):
        raise CertificateError(
            "the revocation list is of an older release, which did not sign it",
            file=folder / OLDER,
            expected=LIST,
            found=OLDER,
            remedy="vla-agent keys init-revocations takes it over, where the key was made; on a robot remove it and "
            + IMPORT,
        )


def open_list(content: bytes, file: Path, keys: Mapping[str, Key]) -> SignedList:
    """The list in a file's content.

    Raises:
        CertificateError: damaged, not signed by one of ``keys``, or by a key that it revokes.
    """
    envelope = open_envelope(SORT, file, content, parse(SORT, file, content))
    key = require_signature(envelope, keys)
    try:
        found = RevocationList.model_validate(parse(SORT, file, envelope.payload))
    except ValidationError as error:
        raise damaged_parts(SORT, file, error) from error
    _require_signer(key.fingerprint, found, file)
    return SignedList(found, key.fingerprint, content)


def _require_signer(key: str, revoking: RevocationList, file: Path) -> None:
    if key in revoking.revoked:
        raise CertificateError(
            "the revocation list is signed by a revoked key",
            file=file,
            key="signatures.0.keyid",
            expected="a trusted key that is not revoked",
            found=f"{key}: {revoking.revoked[key].reason}",
            remedy="sign the list with another key: vla-agent keys revoke ... --key NAME",
        )


def _require_follows(current: SignedList, seen: RevocationList, file: Path) -> None:
    """Raise where a list is older than the newest that was seen, or lacks some of its entries."""
    _require_signer(current.key, seen, file)
    lost = sorted(set(seen.revoked) - set(current.list.revoked))
    if current.list.counter < seen.counter or lost:
        raise CertificateError(
            "the revocation list is older than one that this machine has seen",
            file=file,
            key="counter" if current.list.counter < seen.counter else "revoked",
            expected=f"counter {seen.counter} or higher, with all {len(seen.revoked)} entries of before",
            found=f"counter {current.list.counter}" + (f", without {', '.join(lost)}" if lost else ""),
            remedy=IMPORT,
        )


def _seen(folder: Path) -> RevocationList | None:
    file = folder / SEEN
    try:
        return RevocationList.model_validate(parse(SORT, file, read_guarded(file, MOST_BYTES)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise damaged_parts(SORT, file, error) from error


def _remember(folder: Path, seen: RevocationList) -> None:
    _write(folder / SEEN, seen.model_dump())


def _write(file: Path, data: Mapping[str, Any]) -> None:
    write_text(file, readable(data))
    file.chmod(0o644)


def _publish(folder: Path, content: RevocationList, private: Ed25519PrivateKey) -> None:
    """Write the signed list, then that it was seen: in this order a kill in between loses nothing."""
    _require_signer(fingerprint(private.public_key()), content, folder / LIST)
    _write(folder / LIST, seal(SORT, canonical(content.model_dump()), private))
    _remember(folder, content)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One change of the list at a time, in a folder that nobody else can write."""
    require_guarded(folder)
    if not folder.is_dir():
        raise CertificateError(
            "there are no keys here",
            file=folder,
            expected="the folder of the keys",
            found="no such folder",
            remedy="vla-agent keys create NAME, or vla-agent keys trust FILE.pub",
        )
    with (folder / ".revoked.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def init_list(folder: Path, private: Ed25519PrivateKey, entries: Mapping[str, Entry] | None = None) -> RevocationList:
    """Make the list where there is none, with what the newest one that was seen named, and ``entries``.

    Raises:
        CertificateError: there is a list, or ``private`` is revoked.
    """
    with _locked(folder):
        if os.path.lexists(folder / LIST):
            raise CertificateError(
                "there is a revocation list",
                file=folder / LIST,
                expected="none",
                found=LIST,
                remedy="vla-agent keys revoke adds to it",
            )
        seen = _seen(folder)
        before = seen.revoked if seen else {}
        counter = seen.counter + 1 if seen else 1
        content = RevocationList(counter=counter, issued=_now(), revoked={**(entries or {}), **before})
        _publish(folder, content, private)
    return content


def revoke(name: str, reason: str, folder: Path, key: str | None = None) -> int:
    """Add an identity to the list, and sign it again; its new counter.  Nothing is ever taken out.

    Args:
        name: a whole identity: `revocable.resolve` makes one of what a user gives.
        key: name of the private key to sign with (default: the one that signed the list, else the only one here).

    Raises:
        CertificateError: no whole identity, no valid list, or no key here that may sign.
    """
    with _locked(folder):
        current, seen = _current(folder)
        entry = Entry(reason=reason, time=_now())
        try:
            content = RevocationList(
                counter=max(current.list.counter, seen.counter) + 1,
                issued=entry.time,
                revoked={name: entry, **current.list.revoked},
            )
        except ValidationError as error:
            raise CertificateError(
                "this is no whole identity",
                key="ID",
                expected="32 or 64 lower-case hexadecimal digits",
                found=name,
                remedy="vla-agent keys revoke resolves names, files and prefixes",
            ) from error
        _publish(folder, content, signer(folder, key, content.revoked, current.key))
    return content.counter


def load_signing_key(name: str, folder: Path) -> Ed25519PrivateKey:
    """The private key that is to sign a certificate.

    Raises:
        CertificateError: no such key, it is revoked, or what was revoked is not known.
    """
    private = load_private(name, folder)
    require_not_revoked(name, fingerprint(private.public_key()), folder)
    return private


def require_not_revoked(name: str, key: str, folder: Path) -> None:
    """Raise where the key ``name`` with the fingerprint ``key`` is revoked, or what was revoked is not known.

    Raises:
        CertificateError: see above.
    """
    reasons = revoked(folder)
    if key in reasons:
        raise CertificateError(
            "the key is revoked: no robot accepts what it signs",
            file=folder / LIST,
            key="--key",
            expected="a key that is not revoked",
            found=f"{name} ({key}): {reasons[key]}",
            remedy="vla-agent keys create NAME, trust NAME.pub on the robots, and name it with --key",
        )


def signer(folder: Path, name: str | None, revoked: Mapping[str, object], before: str = "") -> Ed25519PrivateKey:
    """The private key that is to sign the list.

    Args:
        name: its name; None: the one with the fingerprint ``before``, else the only one that is not in ``revoked``.

    Raises:
        CertificateError: no such key, or not exactly one.
    """
    if name:
        return load_private(name, folder)
    able = {k.fingerprint: k for k in trusted(folder).values() if k.private and k.fingerprint not in revoked}
    chosen = able.get(before) or (next(iter(able.values())) if len(able) == 1 else None)
    if chosen is not None:
        return load_private(chosen.name, folder)
    if able:
        raise CertificateError(
            "it is not clear which key signs the revocation list",
            file=folder,
            key="--key",
            expected="one of " + ", ".join(k.name for k in able.values()),
            found="none was named",
            remedy="name it with --key",
        )
    raise CertificateError(
        "no key here may sign the revocation list",
        file=folder,
        key="--key",
        expected="a private key that is not revoked",
        found="none",
        remedy="do this where the lab's key is; or vla-agent keys create NAME, and trust NAME.pub on the robots",
    )


def import_list(file: Path, folder: Path) -> RevocationList:
    """Take over a list that was signed elsewhere.

    Raises:
        CertificateError: it is damaged, not signed by a trusted key, or older than what this machine has seen.
    """
    try:
        content = read_bytes(file, CertificateError, MOST_BYTES)
    except OSError as error:
        raise damaged(SORT, file, file.name, "a file", f"{type(error).__name__}: {error.strerror}") from error
    new = open_list(content, file, trusted(folder))
    with _locked(folder):
        _require_no_older_list(folder)
        try:
            seen: RevocationList | None = _current(folder)[0].list
        except CertificateError:
            seen = _seen(folder)
        if seen is not None:
            _require_follows(new, seen, file)
        write_text(folder / LIST, content.decode())
        (folder / LIST).chmod(0o644)
        _remember(folder, new.list)
    return new.list


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
