"""What a user gives to be revoked -> the whole identity that goes into the list, or a refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vla_agent.errors import CertificateError
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import policy_parts
from vla_agent.gate.certificate.certificate import read_certificate, require_signed
from vla_agent.gate.certificate.guarded_files import read_guarded
from vla_agent.gate.certificate.key_files import fingerprint, trusted
from vla_agent.gate.certificate.keys import LEDGER, read_public
from vla_agent.gate.certificate.revocations import OLDER, Entry, RevocationList, init_list, signer

FORMS = (
    "a certificate.json, a KEY.pub, a policy folder, the name of a trusted key, "
    "or the digits of a certificate's id (32), a key's fingerprint (32) or a policy's digest (64)"
)
LENGTHS = (32, 64)
LEAST_PREFIX = 8
MOST_BYTES = 256 * 2**20  # of a ledger
TYPOS = 2  # digits by which a whole identity may differ from a known one and still be taken for a typing error


@dataclass(frozen=True)
class Revocable:
    """A whole identity; ``what``: in words; ``known``: whether this machine has met it."""

    identity: str
    what: str
    known: bool


def resolve(given: str, folder: Path) -> Revocable:
    """The identity that ``given`` means.

    Args:
        given: one of `FORMS`, or the first 8 or more digits of an identity that is known here.
        folder: of the keys and the ledger.

    Raises:
        CertificateError: none of these, no single match of a prefix, or nearly a known identity.
    """
    text = given.strip()
    digits = text.lower().removeprefix("sha256:")
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", digits):
        digits = digits.replace("-", "")
    names = {key.name: key for key in trusted(folder).values()}
    exists = _exists(text)
    if text in names and exists:
        raise _refused(given, "the name of a key here, and a path", "./ before the path, or the key's fingerprint")
    if text in names:
        return Revocable(names[text].fingerprint, f"the key {text}", True)
    if exists:
        return _of_path(Path(text), given, folder)
    if re.fullmatch(r"[0-9a-f]+", digits):
        return _of_digits(digits, given, dict(_known(folder)))
    raise _refused(given, "none of them", FORMS)


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or a zero in it
        return False


def _of_path(path: Path, given: str, folder: Path) -> Revocable:
    if path.is_dir() and ((path / "policy.json").is_file() or (path / "policy" / "policy.json").is_file()):
        return _of_policy(path, given, folder)
    if path.suffix == ".pub":
        identity = fingerprint(read_public(path))
        return Revocable(identity, f"the key in {path}", identity in trusted(folder))
    if path.suffix == ".json":
        return _of_certificate(path, given, folder)
    raise _refused(given, "another file or folder", FORMS)


def _of_policy(path: Path, given: str, folder: Path) -> Revocable:
    """The folder's digest, if it was ever tried here: one that was changed since is not what robots hold."""
    identity = policy_parts(find_folder(path))["digest"]
    if identity not in dict(_known(folder)):
        found = f"a policy with the digest {identity}, which was never tried here, or was changed since"
        raise _refused(given, found, "the certificate.json of what was certified, or this digest itself if it is meant")
    return Revocable(identity, f"the policy {path}", True)


def _of_certificate(path: Path, given: str, folder: Path) -> Revocable:
    """The id of a certificate that a trusted key signed; anybody can write another id into a file."""
    certificate = read_certificate(path)
    try:
        require_signed(certificate, trusted(folder))
    except CertificateError as error:
        raise _refused(given, error.what, "a certificate that a trusted key signed, or its id") from error
    return Revocable(certificate.id, f"the certificate {path}", True)


def _of_digits(digits: str, given: str, known: dict[str, str]) -> Revocable:
    if digits in known:
        return Revocable(digits, known[digits], True)
    if len(digits) in LENGTHS:
        near = [k for k in known if len(k) == len(digits) and _differing(k, digits) <= TYPOS]
        if near:
            raise _refused(given, f"nearly {near[0]}, {known[near[0]]}", "the identity without a typing error")
        return Revocable(digits, "unknown here", False)
    if len(digits) < LEAST_PREFIX:
        raise _refused(given, f"{len(digits)} digits", f"at least {LEAST_PREFIX} digits, or {FORMS}")
    matches = sorted(k for k in known if k.startswith(digits))
    if len(matches) != 1:
        found = ", ".join(matches) or "the beginning of nothing that is known here"
        raise _refused(given, found, f"the beginning of one known identity, or {FORMS}")
    match = matches.pop()
    return Revocable(match, known[match], True)


def take_over(folder: Path, key: str | None = None) -> RevocationList:
    """Make the signed list where there is none, from the unsigned one of older releases if there is one.

    Args:
        key: name of the private key to sign with (default: the only one here).

    Raises:
        CertificateError: there is a list, a line of the older one does not say what it means, or no key can sign.
    """
    older, entries = folder / OLDER, {}
    for number, line in enumerate(_lines(older), 1):
        try:
            data = json.loads(line)
            entry = Entry(reason=data["reason"], time=data["time"])
            entries[resolve(data["revoked"], folder).identity] = entry
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, CertificateError) as error:
            raise CertificateError(
                "a line of the older revocation list does not say what it revokes",
                file=f"{older}:{number}",
                expected="a whole id, fingerprint or digest, with reason and time",
                found=line[:200],
                remedy="write the whole identity into this line, or remove it if it revoked nothing",
            ) from error
    made = init_list(folder, signer(folder, key, entries), entries)
    if older.exists():
        older.rename(older.with_suffix(".jsonl.old"))
    return made


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in read_guarded(file, MOST_BYTES).decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return []


def _differing(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def _known(folder: Path) -> Iterator[tuple[str, str]]:
    """Identities that this machine has met: of its ledger and of the trusted keys.

    The ledger only helps to find what is meant; its signatures are checked where attempts are counted.
    """
    for line in _lines(folder / LEDGER):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        for kind in ("certificate", "policy"):
            if isinstance(entry, dict) and isinstance(entry.get(kind), str):
                yield entry[kind], f"a {kind} of the ledger"
    for key in trusted(folder).values():
        yield key.fingerprint, f"the key {key.name}"


def _refused(given: str, found: str, expected: str) -> CertificateError:
    return CertificateError(
        "it is not clear what is to be revoked; nothing was",
        key="ID",
        expected=expected,
        found=f"{given!r}: {found}",
        remedy="give the file itself: the certificate.json of what was certified, or KEY.pub",
    )
