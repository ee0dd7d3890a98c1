"""One command in a process that can be killed: at a time, or right at one of its changes of a name in the file system.

Processes are forked from a server that has imported the libraries once, so that a kill falls into the work and not into
the imports.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

IMPORTED = [
    "vla_agent.training.train",
    "vla_agent.finetuning.tune",
    "vla_agent.evaluation.evaluate",
    "vla_agent.gate.run_gate",
    "vla_agent.gate.certificate.verify",
    "vla_agent.data.collect.collection",
    "vla_agent.data.convert.convert",
    "vla_agent.data.edit.edit",
    "vla_agent.cli",
]
CHANGES = ("replace", "rename", "unlink", "rmdir", "mkdir")  # functions of `os` that change names
LONGEST = 300.0  # seconds


@dataclass(frozen=True)
class Aim:
    """Where a process kills itself: before or after its ``number``-th change of a name; 0: nowhere, it only counts.

    Args:
        renames: fold the exchange of two folders into two renames, as on a system without it.
    """

    number: int = 0
    before: bool = True
    renames: bool = False


Command = Callable[[], object] | Sequence[str]  # a function, or a command line of ``vla-agent``


def context() -> ForkServerContext:
    """Where processes are forked from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(IMPORTED)
    return found


def start(command: Command, log: Path, aim: Aim | None = None) -> BaseProcess:
    """Start a command; its output goes to ``log``, and its number of changes to ``log.count`` where it is aimed at."""
    own = {name: value for name, value in os.environ.items() if name.startswith("VLA_AGENT_")}
    process: BaseProcess = context().Process(target=_work, args=(command, log, aim, own))
    process.start()
    return process


def finish(command: Command, log: Path, aim: Aim | None = None) -> tuple[int, float, int]:
    """Run a command to its end: exit code (-9 where it killed itself), seconds, changes of names.

    Raises:
        RuntimeError: it does not end.
    """
    process, began = start(command, log, aim), time.monotonic()
    process.join(LONGEST)
    if process.exitcode is None:
        process.kill()
        raise RuntimeError(f"it does not end: {log.read_text(errors='replace')[-2000:]}")
    count = log.with_suffix(".count")
    return process.exitcode, time.monotonic() - began, int(count.read_text()) if count.is_file() else 0


def kill_after(command: Command, log: Path, seconds: float) -> bool:
    """Kill a command after ``seconds``; False where it had ended by then."""
    process = start(command, log)
    process.join(seconds)
    alive = process.exitcode is None
    process.kill()
    process.join()
    return alive


def _work(command: Command, log: Path, aim: Aim | None, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    counted = _take_aim(aim) if aim else [0]
    code = 0
    if callable(command):
        command()
    else:
        from vla_agent.cli import main

        code = main(command)
    sys.stdout.flush()
    log.with_suffix(".count").write_text(str(counted[0]))
    os._exit(code)


def _take_aim(aim: Aim) -> list[int]:
    """Count this process's changes of names from now on, and kill it at the one that is aimed at."""
    from vla_agent.files import write_aside

    counted = [0]

    def wrap(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **options: Any) -> Any:
            counted[0] += 1
            here = counted[0] == aim.number
            if here and aim.before:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return change(*args, **options)
            finally:
                if here:
                    os.kill(os.getpid(), signal.SIGKILL)

        return changed

    for name in CHANGES:
        setattr(os, name, wrap(getattr(os, name)))
    write_aside.exchange = (lambda a, b: False) if aim.renames else wrap(write_aside.exchange)
    return counted
