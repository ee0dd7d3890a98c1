"""A Python program in a fork of a process that has the large libraries imported: each start is seconds shorter.

For programs whose imports are not what is tested.  One such process serves all tests of a worker.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess

LIBRARIES = ("vla_agent.finetuning.tune", "vla_agent.evaluation.evaluate", "matplotlib.pyplot", "sim.env")


def forks() -> multiprocessing.context.ForkServerContext:
    """The context whose server has the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def start(
    words: Sequence[object], output: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start ``python WORDS`` (``-m MODULE ...`` or ``FILE ...``), leader of a process group of its own.

    What it prints goes to the files ``stdout`` and ``stderr`` below ``output``.
    """
    output.mkdir(parents=True, exist_ok=True)
    work = (
        list(map(str, words)),
        str(output.resolve()),
        str(cwd or Path.cwd()),
        dict(os.environ if env is None else env),
    )
    process = forks().Process(target=_program, args=work)
    process.start()
    return process


def run(
    words: Sequence[object], cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 600.0
) -> CompletedProcess[str]:
    """Run ``python WORDS`` to its end, as `subprocess.run` does with captured text.

    Raises:
        TimeoutError: it was not done after ``timeout`` seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = start(words, Path(folder), cwd, env)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{words} was not done after {timeout:g} s")
        printed = [(Path(folder) / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
    return CompletedProcess(list(words), process.exitcode, *printed)


def _program(words: list[str], output: str, cwd: str, env: dict[str, str]) -> None:
    os.setsid()
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{output}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # asked anew for TMPDIR
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            sys.path.insert(0, cwd)
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
