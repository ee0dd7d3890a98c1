"""SIGKILL at random moments of every operation that writes: the last whole copy is usable, and nothing wrong loads."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kill.killed_process import Aim, finish, kill_after
from benchmarks.kill.operations import Operation, operations

NAME = "gate-kill"
TITLE = "kills of save, collect, train, finetune, convert, eval, gate, edit after which all is whole and a redo works"
TARGET = 200
UNIT = "of 200"
BETTER = "higher"
KILLS = 25  # of each operation
SEED = 17
TOGETHER = 2  # cases at a time


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run: its folder, seconds, and changes of names with and without the exchange of folders."""

    folder: Path
    seconds: float
    changes: dict[bool, int]


def run(kills: int = KILLS, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every second kill comes at a random time, the others right before or after a random change of a name.

    Args:
        names: only these operations.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes: several at a time, each with threads, stand still
    rows, cases = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for operation in operations(Path(folder)):
            if names and operation.name not in names:
                continue
            place = Path(folder) / operation.name
            whole = _whole(operation, place)
            with ThreadPoolExecutor(TOGETHER) as pool:
                results = list(
                    pool.map(lambda case, o=operation, w=whole: _case(o, w, *case), _moments(place, whole, kills))
                )
            cases += len(results)
            rows.append(_row(operation, whole, results))
            shutil.rmtree(place)
    return {
        "value": cases - sum(row["faults"] for row in rows),
        "n": cases,
        "interval": None,
        "seeds": [SEED],
        "rows": rows,
        "notes": "changes: of names, in the uninterrupted run (rename, exchange, delete, make a folder); half of the "
        "kills at one of them run without the exchange of folders, as on a system that lacks it",
    }


def _row(operation: Operation, whole: Whole, results: list[tuple[bool, list[str]]]) -> dict[str, Any]:
    faults = [fault for _, found in results for fault in found]
    return {
        "operation": operation.name,
        "kills": len(results),
        "while it ran": sum(alive for alive, _ in results),
        "seconds": round(whole.seconds, 2),
        "changes": whole.changes[False],
        "faults": sum(bool(found) for _, found in results),
        "which": "; ".join(dict.fromkeys(faults))[:1000],
    }


def _whole(operation: Operation, place: Path) -> Whole:
    changes = {}
    for renames in (True, False):
        folder = place / f"whole-{renames}"
        folder.mkdir(parents=True)
        operation.prepare(folder)
        log = place / f"whole-{renames}.log"
        code, seconds, changes[renames] = finish(operation.command(folder), log, Aim(renames=renames))
        faults = [] if code else operation.done(folder, folder)
        if code or faults:
            raise RuntimeError(
                f"{operation.name}: exit code {code}; {faults}\n{log.read_text(errors='replace')[-3000:]}"
            )
    return Whole(folder, seconds, changes)


def _moments(place: Path, whole: Whole, kills: int) -> Iterator[tuple[Path, float | Aim]]:
    """Folder of each case, and the time or the change at which it is killed."""
    draw = random.Random(f"{SEED} {place.name}")
    for number in range(kills):
        renames = bool(number // 2 % 2)
        moment: float | Aim = draw.uniform(0, whole.seconds)
        if number % 2:
            moment = Aim(draw.randint(1, whole.changes[renames]), draw.random() < 0.5, renames)
        yield place / f"killed-{number}", moment


def _case(operation: Operation, whole: Whole, folder: Path, moment: float | Aim) -> tuple[bool, list[str]]:
    """Kill an operation once, check what is left, run it again: whether it was killed while it ran, and the faults."""
    folder.mkdir()
    operation.prepare(folder)
    log = folder.with_suffix(".log")
    if isinstance(moment, Aim):
        alive = finish(operation.command(folder), log, moment)[0] == -9
    else:
        alive = kill_after(operation.command(folder), log, moment)
    faults = [f"left: {fault}" for fault in operation.left(folder, whole.folder)]
    code, _, _ = finish(operation.again(folder), log)
    if code:
        faults.append(f"again: exit code {code}: {log.read_text(errors='replace')[-500:]}")
    else:
        faults += [f"again: {fault}" for fault in operation.done(folder, whole.folder)]
    shutil.rmtree(folder)
    return alive, [f"{moment}: {fault}" for fault in faults]
