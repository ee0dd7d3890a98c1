"""`vla-agent view` as a process of its own, for as long as a benchmark looks at it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.record import ROOT

START = 240.0  # seconds until the page is served, on a busy machine


@dataclass(frozen=True)
class WindowProcess:
    """``url``: of the page, with its token.  ``process``: that serves it."""

    url: str
    process: subprocess.Popen[str]

    def memory(self) -> float:
        """Resident memory, MB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))

    def end(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def window_process(*arguments: str) -> Iterator[WindowProcess]:
    """Serve the page on a free port with these arguments.

    Raises:
        RuntimeError: it was not served in time; with what the process said.
    """
    command = [sys.executable, "-m", "vla_agent", "view", "--port", "0", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield WindowProcess(_url(process), process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _url(process: subprocess.Popen[str]) -> str:
    end, said = time.monotonic() + START, ""
    assert process.stdout is not None
    while time.monotonic() < end:
        line = process.stdout.readline()
        said += line
        if found := re.search(r"open (http\S+)", line):
            return found[1]
        if not line:
            break
    raise RuntimeError(f"the page is not served: {said}")
