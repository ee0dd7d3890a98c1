"""The attempt that a gate is: counted in the ledger before its first episode, and kept in the output folder."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_agent.errors import GateError
from vla_agent.files.write_aside import write_text
from vla_agent.gate.evidence import ledger

ATTEMPT = "attempt.json"


@dataclass(frozen=True)
class Attempt:
    """A run of a gate, from its first start on."""

    run: str
    number: int
    entry: str  # hash of its line in the ledger
    delay_ms: float
    measured: dict[str, Any]
    policy: str  # digest
    gate: str  # SHA-256


def unfinished_attempt(out: Path, resume: bool, policy: str, gate: str, ledger_file: Path) -> Attempt | None:
    """The attempt that was interrupted in ``out``, or None.

    Args:
        policy: digest of the policy that is tried now.
        gate: SHA-256 of the gate file.

    Raises:
        GateError: there is one and ``resume`` is False, or it is of another policy or gate file, or not in the ledger.
    """
    file = out / ATTEMPT
    if not file.exists():
        return None
    attempt = Attempt(**json.loads(file.read_text(encoding="utf-8")))
    same = (attempt.policy, attempt.gate) == (policy, gate)
    if not resume or not same:
        raise GateError(
            "the output folder holds an unfinished gate" + ("" if same else " of another policy or gate file"),
            file=out,
            key="--out",
            expected="an empty folder" + (", or --resume" if same else ""),
            found=f"attempt {attempt.number}, run {attempt.run}",
            remedy="add --resume to continue it" if same else "name another folder",
        )
    if attempt.run not in ledger.starts(ledger.read_ledger(ledger_file), policy):
        raise GateError(
            "the unfinished gate is not in the ledger",
            file=ledger_file,
            key="--ledger",
            expected=f"run {attempt.run}",
            found="no such start",
            remedy="name the ledger that it was started with",
        )
    return attempt


def start_attempt(
    out: Path, policy: str, gate: str, ledger_file: Path, delay_ms: float, measured: dict[str, Any]
) -> Attempt:
    """Count a new attempt in the ledger, and keep it in ``out``.

    Args:
        delay_ms: the latency that is simulated and certified, milliseconds.
        measured: what `inference_latency.measure` found; {} for a scripted policy.
    """
    run = uuid.uuid4().hex
    entry = ledger.append(ledger_file, {"event": "start", "run": run, "policy": policy, "gate": gate})
    number = ledger.starts(ledger.read_ledger(ledger_file), policy).index(run) + 1
    attempt = Attempt(run, number, entry["hash"], delay_ms, measured, policy, gate)
    write_text(out / ATTEMPT, json.dumps(asdict(attempt), indent=1) + "\n")
    return attempt
