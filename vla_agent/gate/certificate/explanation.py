"""A certificate in ten lines: what it promises, with its own numbers, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vla_agent.errors import CertificateError
from vla_agent.gate.certificate.certificate import Certificate, read_certificate, require_current, require_signed
from vla_agent.gate.certificate.key_files import trusted
from vla_agent.gate.certificate.revocations import revoked

KINDS = {"family": "each family", "axis": "each perturbation", "delay": "each latency"}


def explain(file: Path, keys: Path, now: datetime | None = None) -> list[str]:
    """Ten lines about a certificate; its signature and its validity here are among them.

    Args:
        keys: folder of the trusted keys and the revocation list.

    Raises:
        CertificateError: there is no certificate, or it is damaged.
    """
    certificate = read_certificate(file)
    p = certificate.payload
    policy, gate, robot, attempt = p["policy"], p["gate"], p["robot"], p["attempt"]
    passed = {"pass": "passed", "fail": "did not pass", "undecided": "did not finish"}[p["verdict"]]
    shown = "shown" if p["verdict"] == "pass" else "asked, and not all shown"
    bits = f"{len(policy['files'])} files, digest {policy['digest'][:16]}" if policy["files"] else "scripted, no files"
    reported = sorted(name for name, check in gate["checks"].items() if check["threshold"] is None)
    hardware = f"robot file {robot['file'][:16]}" if robot["file"] else "no robot file: it moves no hardware"
    cameras = ", ".join(f"{name} {h} x {w}" for name, (h, w) in p["contract"]["cameras"].items())
    lines = [
        f"promises: the policy {policy['name']} ({bits}) {passed} the gate {gate['name']} ({gate['sha256'][:16]})",
        f"  success in simulation: {_estimate(p['estimate'])}",
        f"  {shown}, each with an error of at most {100 * attempt['alpha']:g} %: {_thresholds(gate['checks'])}",
        f"  attempt {attempt['number']} with these weights in the ledger; seeds from {attempt['seed']}, unknown before "
        f"it was counted; {len(p['simulator'])} files of the simulator are bound",
        f"  robot {robot['name']}, {hardware}; {p['contract']['control_hz']:g} Hz; {cameras}",
        f"  inference within {p['latency']['certified_ms']:g} ms, chunks executed as {p['execution']}",
        f"  {_standing(certificate, keys, now)}",
        "does not promise: that simulation equals reality, or that anybody is safe beside the arm: limits and stops "
        "are the safety node's",
        f"  anything that no check judged: {', '.join(reported) or 'other scenes, words, lights and tasks'}; or "
        "another robot, camera, rate, machine or one changed bit",
        f"  that the robot accepts it: its owner's demands decide; or anything against whoever holds the key "
        f"{certificate.key} or root",
    ]
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _estimate(estimate: Mapping[str, Any]) -> str:
    if estimate["rate"] is None:
        return "not estimated: a family was not played"
    worst = estimate["worst_family"]
    words = f"{_percent(estimate['rate'])} (95 % interval {_interval(estimate['interval'])}), families balanced"
    if worst is None:
        return words
    return f"{words}; worst: {worst['name']}, {worst['k']} of {worst['n']} ({_interval(worst['interval'])})"


def _thresholds(checks: Mapping[str, Any]) -> str:
    """The judged checks with their thresholds; those of one kind and threshold together."""
    found: dict[str, set[float]] = {}
    for name, check in checks.items():
        if check["threshold"] is not None:
            kind = name.partition(".")[0]
            words = KINDS.get(kind) or name.removeprefix("probe.").replace("_", " ")
            found.setdefault(words, set()).add(check["threshold"])
    return ", ".join(f"{words} above {_percent(min(values))}" for words, values in found.items()) or "nothing"


def _standing(certificate: Certificate, keys: Path, now: datetime | None) -> str:
    """Validity, and whether this machine takes it."""
    p = certificate.payload
    valid = f"valid from {p['issued']} to {p['expires']}"
    try:
        key = require_signed(certificate, trusted(keys))
        require_current(certificate, revoked(keys, now), now)
    except CertificateError as error:
        return f"{valid}; NOT TAKEN HERE: {error.what}"
    return f"{valid}; signed by {key.name} {key.fingerprint}, trusted here and not revoked"


def _interval(interval: list[float]) -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
