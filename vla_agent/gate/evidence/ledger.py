"""The append-only ledger of attempts: JSON lines, each holding the hash of the one before.

Every start of a gate is written before its first episode, so that interrupted attempts count, too.  The chain reveals
changed, inserted and removed lines; lines cut off at the end are revealed by a certificate that names a later one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vla_agent.errors import CertificateError
from vla_agent.files.canonical_json import canonical, digest

ORIGIN = "0" * 64


def read_ledger(file: Path) -> list[dict[str, Any]]:
    """All entries, the chain checked; none where there is no file.

    Raises:
        CertificateError: a line is damaged or the chain is broken, with the line's number.
    """
    try:
        *lines, rest = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    lines += [rest] if rest else []
    entries: list[dict[str, Any]] = []
    previous = ORIGIN
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            body = {k: v for k, v in entry.items() if k != "hash"}
            good = entry["previous"] == previous and entry["hash"] == digest(body) and entry["number"] == number
            good &= line == canonical(entry)
        except (ValueError, KeyError, AttributeError):
            good = False
        if not good:
            raise CertificateError(
                "the ledger was changed",
                file=f"{file}:{number}",
                key="hash",
                expected=f"an entry that follows {previous[:16]}",
                found=line[:80].decode(errors="replace"),
                remedy="restore the ledger from a copy; attempts cannot be counted with this one",
            )
        previous = entry["hash"]
        entries.append(entry)
    return entries


def append(file: Path, event: Mapping[str, Any]) -> dict[str, Any]:
    """Write one entry, with its number, time and the hash of the one before; it is on disk when this returns.

    Raises:
        CertificateError: the ledger was changed.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        entries = read_ledger(file)
        body = dict(event) | {
            "number": len(entries) + 1,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "previous": entries[-1]["hash"] if entries else ORIGIN,
        }
        entry = body | {"hash": digest(body)}
        stream.write(canonical(entry).decode() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return entry


def starts(entries: list[dict[str, Any]], policy: str) -> list[str]:
    """The runs that were started with this policy (its digest), in order, with any gate file."""
    return list(dict.fromkeys(e["run"] for e in entries if e["event"] == "start" and e["policy"] == policy))


def attempts(entries: list[dict[str, Any]], policy: str) -> list[dict[str, Any]]:
    """Every attempt with this policy: ``number``, ``run``, ``time`` of its start, ``gate``, ``verdict`` or None."""
    runs: dict[str, dict[str, Any]] = {}
    for entry in (e for e in entries if e["policy"] == policy):
        new = {"number": len(runs) + 1, "run": entry["run"], "time": entry["time"], "gate": entry["gate"]}
        run = runs.setdefault(entry["run"], new | {"verdict": None})
        run["verdict"] = entry.get("verdict", run["verdict"])
    return list(runs.values())
