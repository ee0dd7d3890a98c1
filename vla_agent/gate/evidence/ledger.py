"""The append-only ledger of attempts: signed lines, each holding the hash of the one before.

Every start of a gate is written before its first episode, so that interrupted attempts count, too.  The chain reveals
changed, inserted and removed lines.  Lines cut off at the end are revealed by the signed head beside the ledger
(``FILE.head``: how many lines there were, and the last one's hash), and by a certificate that names a later one.

event      | beside run, policy (digest) and gate (SHA-256)
start      | ``delay_ms``, the latency that is simulated; ``measured``, of `inference_latency.measure`
stopped    | ``episodes`` and ``head`` (hash of the last line) of the scratch file of an interrupted run
resumed    | the same, when it goes on
finish     | ``verdict``, and the id of the ``certificate``
aborted    | ``reason``: what changed while the gate ran; such a run never goes on
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vla_agent.errors import CertificateError
from vla_agent.files.bounded_reading import raw_lines, read_bytes, require_regular
from vla_agent.files.canonical_json import canonical
from vla_agent.files.input_limits import LEDGER_BYTES, LINE_BYTES
from vla_agent.files.write_aside import write_bytes
from vla_agent.gate.evidence.signed_lines import BrokenLine, Signer, next_line, read_line, shown

ORIGIN = "0" * 64
KIND, HEAD_KIND = "ledger", "ledger head"
HEAD = ".head"  # added to the ledger's name
START, STOPPED, RESUMED, FINISH, ABORTED = "start", "stopped", "resumed", "finish", "aborted"
SAYS = ("event", "run", "policy", "gate", "time")  # every entry does
Entry = dict[str, Any]


def read_ledger(file: Path, signer: Signer) -> list[Entry]:
    """All entries, chain and signatures checked; none where there is no file.

    Raises:
        CertificateError: a line is damaged, not signed by a trusted key, or the chain is broken, with its number; or
            the file is no regular file, or larger than any ledger.
    """
    entries: list[Entry] = []
    try:
        for number, ended in raw_lines(file, CertificateError, LEDGER_BYTES):
            entries.append(_checked(file, number, ended.removesuffix(b"\n"), entries, signer))
    except FileNotFoundError:
        return []
    return entries


def _checked(file: Path, number: int, line: bytes, before: Sequence[Entry], signer: Signer) -> Entry:
    """The entry of the line that follows those ``before``."""
    previous = before[-1]["hash"] if before else ORIGIN
    try:
        entry = read_line(line, KIND, number, previous, signer)
        missing = [name for name in SAYS if not isinstance(entry.get(name), str)]
        if missing:
            raise BrokenLine(f"an attempt's {', '.join(missing)}")
    except BrokenLine as error:
        raise _broken(f"{file}:{number}", line, str(error)) from error
    return entry


def _broken(where: str, line: bytes, expected: str) -> CertificateError:
    unsigned = line.startswith(b"{") and b'"signature"' not in line
    remedy = "restore the ledger from a copy; attempts cannot be counted with this one"
    if unsigned:
        remedy = "keep a ledger of an earlier release under another name, as a record; a new one begins by itself"
    return CertificateError(
        "the ledger's lines are not signed" if unsigned else "the ledger was changed",
        file=where,
        key="hash",
        expected=expected,
        found=shown(line),
        remedy=remedy,
    )


def append(file: Path, event: Mapping[str, Any], signer: Signer) -> Entry:
    """Sign and write one entry, with its number, time and the hash of the one before; on disk when this returns.

    Raises:
        CertificateError: the ledger was changed, or lines were cut off its end.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        require_regular(file, CertificateError, LEDGER_BYTES)  # before opening: a FIFO would be waited for
    with file.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        entries = read_ledger(file, signer)
        _require_head(file, entries, signer)
        if not entries:  # first the head of none: a kill after the first line leaves a ledger that can go on
            _write_head(file, 0, ORIGIN, signer)
        timed = dict(event) | {"time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        previous = entries[-1]["hash"] if entries else ORIGIN
        entry = next_line(timed, KIND, len(entries) + 1, previous, signer)
        stream.write(canonical(entry).decode() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
        _write_head(file, entry["number"], entry["hash"], signer)
    return entry


def _write_head(file: Path, number: int, last: str, signer: Signer) -> None:
    write_bytes(_head_of(file), canonical(next_line({}, HEAD_KIND, number, last, signer)) + b"\n")


def _head_of(file: Path) -> Path:
    return file.with_name(file.name + HEAD)


def _require_head(file: Path, entries: Sequence[Entry], signer: Signer) -> None:
    """Check that the ledger still holds the line that was last written, or more where a kill came before its head."""
    head_file = _head_of(file)
    if not entries and not head_file.exists():
        return
    try:
        line = read_bytes(head_file, CertificateError, LINE_BYTES).removesuffix(b"\n")
        said = json.loads(line)
        head = read_line(line, HEAD_KIND, said["number"], said["previous"], signer)
        number, last = int(head["number"]), str(head["previous"])
        hashes = [ORIGIN, *(entry["hash"] for entry in entries)]
        good = 0 <= number < len(hashes) and hashes[number] == last
        expected, found = f"line {number}, {last[:16]}", f"{len(entries)} lines"
    except FileNotFoundError:
        good, expected, found = False, f"{head_file.name} beside it", "no such file"
    except (BrokenLine, ValueError, TypeError, KeyError, RecursionError) as error:
        good, expected, found = False, f"{head_file.name}, signed by a trusted key", str(error)
    if not good:
        raise CertificateError(
            "lines were cut off the ledger's end, or its head is missing",
            file=file,
            key="number",
            expected=expected,
            found=found,
            remedy=f"restore the ledger and {head_file.name} from a copy, both together; every attempt counts",
        )


def starts(entries: Sequence[Entry], policy: str) -> list[str]:
    """The runs that were started with this policy (its digest), in order, with any gate file."""
    return list(dict.fromkeys(e["run"] for e in entries if e["event"] == START and e["policy"] == policy))


def of_run(entries: Sequence[Entry], run: str, *events: str) -> Iterator[Entry]:
    """The entries of one run with these events."""
    return (e for e in entries if e["run"] == run and e["event"] in events)


def attempts(entries: Sequence[Entry], policy: str) -> list[dict[str, Any]]:
    """Every attempt with this policy: ``number``, ``run``, ``time`` of its start, ``gate``, ``verdict`` or None."""
    runs: dict[str, dict[str, Any]] = {}
    for entry in (e for e in entries if e["policy"] == policy):
        new = {"number": len(runs) + 1, "run": entry["run"], "time": entry["time"], "gate": entry["gate"]}
        run = runs.setdefault(entry["run"], new | {"verdict": None})
        run["verdict"] = ABORTED if entry["event"] == ABORTED else entry.get("verdict", run["verdict"])
    return list(runs.values())
