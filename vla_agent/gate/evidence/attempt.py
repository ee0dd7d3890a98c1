"""The attempt that a gate is: counted in the ledger before its first episode, and found there again by its line.

The output folder keeps a copy of the start's line, ``attempt.json``.  It only says which line of the ledger is meant:
number, policy, gate file, latency and seed all come from the ledger.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_agent.errors import GateError
from vla_agent.files.bounded_reading import read_bytes
from vla_agent.files.canonical_json import canonical
from vla_agent.files.input_limits import LINE_BYTES
from vla_agent.files.write_aside import write_text
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.seeds import first_seed
from vla_agent.gate.evidence.signed_lines import Signer, shown

ATTEMPT = "attempt.json"


@dataclass(frozen=True)
class Attempt:
    """A run of a gate, from its first start on.

    Attributes:
        number: how many starts with this policy the ledger holds up to this one.
        entry: hash of the start's line in the ledger.
        delay_ms: the latency that is simulated and certified, milliseconds.
        measured: what `inference_latency.measure` found; {} for a scripted policy.
        policy, gate: digest of the policy, SHA-256 of the gate file.
        seed: the first seed, `first_seed`.
    """

    run: str
    number: int
    entry: str
    delay_ms: float
    measured: dict[str, Any]
    policy: str
    gate: str
    seed: int


def attempt_of(entries: Sequence[ledger.Entry], start: ledger.Entry) -> Attempt:
    """The attempt that a start's line in the ledger began."""
    number = ledger.starts(entries, start["policy"]).index(start["run"]) + 1
    seed = first_seed(start["policy"], start["gate"], start["hash"])
    return Attempt(
        start["run"], number, start["hash"], start["delay_ms"], start["measured"], start["policy"], start["gate"], seed
    )


def unfinished_attempt(
    out: Path, resume: bool, policy: str, gate: str, ledger_file: Path, signer: Signer
) -> Attempt | None:
    """The attempt that was interrupted in ``out``, or None.

    Args:
        policy: digest of the policy that is tried now.
        gate: SHA-256 of the gate file.

    Raises:
        GateError: there is one and ``resume`` is False, or it is not in the ledger, has ended, or is of another policy,
            gate file or key.
        CertificateError: the ledger was changed.
    """
    file = out / ATTEMPT
    if not file.exists():
        return None
    entries = ledger.read_ledger(ledger_file, signer)
    kept = read_bytes(file, GateError, LINE_BYTES)
    start = next((e for e in entries if e["event"] == ledger.START and canonical(e) + b"\n" == kept), None)
    if start is None:
        raise GateError(
            "the unfinished gate is not in the ledger",
            file=file,
            key="--ledger",
            expected=f"a line of {ledger_file}",
            found=shown(kept),
            remedy="name the ledger that it was started with; a changed attempt.json cannot be continued",
        )
    attempt = attempt_of(entries, start)
    for ended in ledger.of_run(entries, attempt.run, ledger.FINISH, ledger.ABORTED):
        what = "has ended" if ended["event"] == ledger.FINISH else "was aborted"
        raise _refused(out, f"the gate in the output folder {what}", "a new attempt", str(ended.get("reason", "")))
    for key, mine, theirs in (
        ("policy", policy, attempt.policy),
        ("gate file", gate, attempt.gate),
        ("--key", signer.fingerprint, start["key"]),
    ):
        if mine != theirs:
            raise _refused(out, f"the output folder holds an unfinished gate of another {key.strip('-')}", mine, theirs)
    if not resume:
        raise GateError(
            "the output folder holds an unfinished gate",
            file=out,
            key="--out",
            expected="an empty folder, or --resume",
            found=f"attempt {attempt.number}, run {attempt.run}",
            remedy="add --resume to continue it",
        )
    return attempt


def _refused(out: Path, what: str, expected: str, found: str) -> GateError:
    return GateError(what, file=out, key="--out", expected=expected, found=found, remedy="name another folder")


def start_attempt(
    out: Path, policy: str, gate: str, ledger_file: Path, latency: tuple[float, dict[str, Any]], signer: Signer
) -> Attempt:
    """Count a new attempt in the ledger, and keep its line in ``out``.

    Args:
        latency: the delay that is simulated and certified, milliseconds, and what was measured.
    """
    says = {"event": ledger.START, "run": uuid.uuid4().hex, "policy": policy, "gate": gate}
    start = ledger.append(ledger_file, says | {"delay_ms": latency[0], "measured": latency[1]}, signer)
    write_text(out / ATTEMPT, canonical(start).decode() + "\n")
    return attempt_of(ledger.read_ledger(ledger_file, signer), start)
