"""The end of a gate: evidence, certificate and the ledger's last line, in an order that a kill cannot harm.

Evidence first, then the certificate over its bytes, then the line in the ledger, then the copy of the ledger beside the
evidence; the scratch files go last.  What a kill leaves out, ``--resume`` adds.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vla_agent.errors import GateError
from vla_agent.evaluation.result_store import read_report
from vla_agent.files.hashing import hash_file
from vla_agent.files.write_aside import write_bytes, write_text
from vla_agent.gate.certificate.certificate import (
    Certificate,
    read_certificate,
    require_signed,
    sign,
    write_certificate,
)
from vla_agent.gate.certificate.keys import LEDGER, Key, fingerprint
from vla_agent.gate.certificate.lab_key import LabKey
from vla_agent.gate.certificate.verify import GATE_COPY
from vla_agent.gate.evidence import ledger
from vla_agent.gate.evidence.attempt import ATTEMPT
from vla_agent.gate.evidence.episode_log import FOLDER, EpisodeLog
from vla_agent.gate.evidence.played_actions import ACTIONS, actions_bytes

CERTIFICATE, REPORT, PAGE = "certificate.json", "report.json", "report.html"


def require_free(out: Path) -> None:
    """Raise where the output folder holds something that is not an unfinished gate.

    Raises:
        GateError: naming what is there.
    """
    taken = [name for name in (CERTIFICATE, REPORT, FOLDER) if (out / name).exists()]
    if CERTIFICATE in taken or (taken and not (out / ATTEMPT).exists()):
        raise GateError(
            f"the output folder holds {'a finished gate' if CERTIFICATE in taken else 'something else'}",
            file=out,
            key="--out",
            expected="an empty folder, or an unfinished gate with --resume",
            found=", ".join(taken),
            remedy="vla-agent verify checks it; name another folder for a new attempt",
        )


def seal(
    out: Path, report: Mapping[str, Any], page: str, gate: bytes, log: EpisodeLog, private: Ed25519PrivateKey
) -> str:
    """Write the evidence, from what was played and read, and the certificate over exactly these bytes; its id."""
    actions = actions_bytes(report["episodes"], log.actions, log.looks)
    text = json.dumps(report, indent=1).encode()
    for name, content in ((ACTIONS, actions), (REPORT, text), (GATE_COPY, gate)):
        write_bytes(out / name, content)
    write_text(out / PAGE, page)
    evidence = {REPORT: hashlib.sha256(text).hexdigest(), ACTIONS: hashlib.sha256(actions).hexdigest()}
    payload = report["certified"] | {"evidence": evidence}
    write_certificate(out / CERTIFICATE, sign(payload, private))
    return str(payload["id"])


def finish_interrupted(out: Path, ledger_file: Path, signer: LabKey, private: Ed25519PrivateKey) -> dict[str, Any]:
    """Add what a kill left out after the certificate was written: the ledger's line, its copy; the report.

    Raises:
        GateError: the gate had its end already, or the certificate is not that of an attempt in the ledger.
    """
    certificate = _own_certificate(out, private)
    payload = certificate.payload
    run, entries = payload["attempt"]["run"], ledger.read_ledger(ledger_file, signer)
    if not any(e["hash"] == payload["attempt"]["entry"] for e in ledger.of_run(entries, run, ledger.START)):
        raise _refused(out, "the certificate's attempt is not in the ledger", f"run {run} in {ledger_file}", "no line")
    if not any(ledger.of_run(entries, run, ledger.FINISH)):
        says = {"event": ledger.FINISH, "run": run, "policy": payload["policy"]["digest"]}
        says |= {"gate": payload["gate"]["sha256"], "verdict": payload["verdict"], "certificate": payload["id"]}
        ledger.append(ledger_file, says, signer)
    elif (out / LEDGER).exists() and not (out / FOLDER).exists():
        require_free(out)
    copy = out / LEDGER
    if copy.resolve() != ledger_file.resolve():
        write_bytes(copy, ledger_file.read_bytes())
    report = read_report(out / REPORT)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    return report


def _own_certificate(out: Path, private: Ed25519PrivateKey) -> Certificate:
    """The certificate in the folder, signed with this key over the evidence that lies there."""
    certificate = read_certificate(out / CERTIFICATE)
    own = fingerprint(private.public_key())
    require_signed(certificate, {own: Key("this key", own, private.public_key(), True)})
    for name, expected in certificate.payload["evidence"].items():
        found = hash_file(out / name) if (out / name).is_file() else "no such file"
        if found != expected:
            raise _refused(out / name, "the evidence was changed after the certificate was written", expected, found)
    return certificate


def _refused(file: Path, what: str, expected: str, found: str) -> GateError:
    return GateError(
        what, file=file, key="--resume", expected=expected, found=found, remedy="begin a new attempt in another folder"
    )
