"""Bombs in what lies beside a certificate: report, actions, ledger, and the scratch files of an unfinished gate."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bounds.bounded_child import Case

KEY = "control/stack/1"
Make = Callable[[Path], Any]


def _report(folder: Path) -> Any:
    from vla_agent.evaluation.result_store import read_report

    return read_report(folder / "bomb")


def _actions(folder: Path) -> Any:
    from vla_agent.gate.evidence.played_actions import read_actions

    return read_actions(folder / "bomb", {"control": "control", "task": "stack", "seed": 1, "actions_hash": "0" * 64})


def _replayed(folder: Path) -> Any:
    from vla_agent.evaluation.replay_episode import read_actions

    return read_actions(folder / "bomb", KEY)


def _ledger(folder: Path) -> Any:
    from vla_agent.gate.certificate.lab_key import LabKey
    from vla_agent.gate.evidence.ledger import read_ledger

    return read_ledger(folder / "bomb", LabKey({}))


def _write(*parts: bytes) -> Make:
    return lambda folder: (folder / "bomb").write_bytes(b"".join(parts))


def _sparse(folder: Path) -> None:
    """2 GiB of zeros that take no space on the disk: one line without an end."""
    (folder / "bomb").touch()
    os.truncate(folder / "bomb", 2 * 2**30)


def _archive(megabytes: int, dtype: str) -> Make:
    """Two arrays of zeros, a thousandth of it in the file."""

    def make(folder: Path) -> None:
        from numpy.lib import format as npy

        count = megabytes * 2**20 // int(dtype[-1])
        with zipfile.ZipFile(folder / "bomb", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("actions", "looks"):
                with archive.open(f"{KEY}/{name}.npy", "w", force_zip64=True) as stream:
                    header = {"descr": dtype, "fortran_order": False, "shape": (count,)}
                    npy.write_array_header_1_0(stream, header)  # type: ignore[arg-type]  # any stream that writes
                    for _ in range(megabytes):
                        stream.write(bytes(2**20))

    return make


def _directory(folder: Path) -> None:
    """300,000 entries, each several times as large in memory as in the file."""
    with zipfile.ZipFile(folder / "bomb", "w") as archive:
        for number in range(300_000):
            archive.writestr(f"{number}", b"")


def cases() -> Iterator[Case]:
    """Each bomb on each reader that it is made for."""
    texts: dict[str, Make] = {
        "200,000 nested lists": _write(b"[" * 200_000),
        "60 MB of empty lists": _write(b"[" + b"[]," * 20_000_000 + b"[]]"),
        "15 MB of empty lists": _write(b"[" + b"[]," * 5_000_000 + b"[]]"),
        "2 GiB of zeros": _sparse,
        "a FIFO": lambda folder: os.mkfifo(folder / "bomb"),
    }
    archives = {
        "1.5 GB of zeros": _archive(750, "|u1"),
        "60 MB of zeros": _archive(30, "<f4"),
        "300,000 arrays": _directory,
        "a FIFO": texts["a FIFO"],
    }
    for reader, read, bombs in (
        ("report", _report, texts),
        ("ledger", _ledger, texts),
        ("actions of a gate", _actions, archives),
        ("actions of a replay", _replayed, archives),
    ):
        for bomb, make in bombs.items():
            yield Case(reader, bomb, make, read)
