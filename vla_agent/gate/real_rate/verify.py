"""Check a statement of the real rate: signature, certificate, policy, evidence, and its numbers computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vla_agent.errors import CertificateError, VlaAgentError
from vla_agent.evaluation.bridge.bridge import bridge, span
from vla_agent.evaluation.bridge.simulated_episodes import read_simulated
from vla_agent.files import bounded_reading
from vla_agent.files.hashing import hash_file
from vla_agent.files.input_limits import REPORT_BYTES
from vla_agent.gate.certificate.certificate import read_certificate, require_current, require_signed
from vla_agent.gate.certificate.envelope import require_signature
from vla_agent.gate.certificate.keys import keys_folder, revoked, trusted
from vla_agent.gate.real_rate.statement import DIGITS, SIMULATED, TRIALS, Statement, rates, read_statement
from vla_agent.gate.recheck.difference import Difference, differences


def verify_statement(
    file: Path, certificate_file: Path, keys: Path | None = None
) -> tuple[Statement, list[Difference]]:
    """The statement and everything that differs; [] where it is valid.

    The evidence (trials.csv, simulated.json) is read from the statement's folder.

    Args:
        keys: folder of the trusted keys and of what was revoked; None: this machine's.

    Raises:
        CertificateError: there is no certificate or no statement, or one of them is damaged.
    """
    folder = keys or keys_folder()
    certificate = read_certificate(certificate_file)
    statement = read_statement(file, certificate)
    payload = statement.payload
    found: list[Difference] = []
    try:
        require_signed(certificate, trusted(folder))
        require_current(certificate, revoked(folder))
        require_signature(statement.envelope, trusted(folder))
        found += _revoked(statement, revoked(folder))
    except CertificateError as error:
        found.append(Difference(f"{error.key or 'file'}: {error.what} ({error.file})", error.expected, error.found))
    bound = {"id": certificate.id, "sha256": hash_file(certificate_file)}
    found += differences("certificate", payload["certificate"], bound)
    certified = {key: certificate.payload["policy"][key] for key in ("name", "digest")}
    found += differences("policy", payload["policy"], certified)
    return statement, found + list(_evidence(statement))


def _revoked(statement: Statement, reasons: Mapping[str, str]) -> Iterator[Difference]:
    for what, name in (("id", statement.payload["id"]), ("key", statement.envelope.keyid)):
        if name in reasons:
            yield Difference(f"{what}: the statement was revoked", "not revoked", f"{name}: {reasons[name]}")


def _evidence(statement: Statement) -> Iterator[Difference]:
    """The evidence as it was signed, and the numbers that it gives."""
    folder, payload = statement.file.parent, statement.payload
    contents = {}
    for name in (TRIALS, SIMULATED):
        try:
            contents[name] = bounded_reading.read_bytes(folder / name, CertificateError, REPORT_BYTES)
            now = hashlib.sha256(contents[name]).hexdigest()
        except OSError as error:
            now = error.strerror or "unreadable"
        if now != payload["evidence"].get(name):
            yield Difference(f"evidence.{name}", payload["evidence"].get(name), now)
            return
    try:
        report = bridge(folder / TRIALS, contents[TRIALS], [read_simulated(folder / SIMULATED)], payload["level"])
    except VlaAgentError as error:
        yield Difference(f"{error.key or 'file'}: {error.what}", error.expected, error.found)
        return
    policy = report["policies"][0]
    yield from differences("policy", {"digest": payload["policy"]["digest"]}, {"digest": policy["digest"]})
    again = {"all": payload["all"], "tasks": payload["tasks"]}
    yield from _numbers(again, rates(policy))


def _numbers(stated: Mapping[str, Any], computed: Mapping[str, Any]) -> Iterator[Difference]:
    """Differences of more than a rate's last digit."""
    for difference in differences("rates", stated, computed):
        try:
            if abs(float(difference.expected) - float(difference.found)) <= 1.5 * 10**-DIGITS:  # type: ignore[arg-type]
                continue
        except (TypeError, ValueError):
            pass
        yield difference


def summary(statement: Statement) -> str:
    """What a valid statement says, in one line."""
    payload = statement.payload
    counts = payload["all"]["counts"]
    real = span(payload["all"]["rate"], payload["all"]["interval"], payload["level"])
    return f"real success {real}, {counts['n1'] + counts['n0']} real trials, {payload['issued']}"
