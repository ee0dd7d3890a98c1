"""Runs one action in a process of its own, and notices what it must not do.

========  ==========================================================================================
executed  planted code wrote its mark
read      a file outside of the case's folder was opened (inotify), or its secret was printed
network   a name was looked up or a connection made (audit hook of Python)
blocked   no answer within the time: something waits for a FIFO, or for an answer
========  ==========================================================================================

The process is forked from this one, where the libraries are imported; its standard input answers "y" to everything.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Action = Callable[[], Any] | list[str]  # a call, or arguments of `vla-agent`
SECRET = "cormorant-1847"  # inside the files that are outside
ANSWERS = "y\n" * 20_000
IN_OPEN, IN_ISDIR = 0x20, 0x40000000
TIMEOUT = 120.0  # seconds


@dataclass(frozen=True)
class Place:
    """Where a case happens: its own ``folder``, the folder ``outside`` with ``outside/secret``, and the code's mark."""

    folder: Path
    outside: Path
    mark: Path

    @staticmethod
    def make(root: Path) -> Place:
        """Empty folders below ``root``."""
        place = Place(root / "case", root / "outside", root / "executed")
        place.folder.mkdir(parents=True)
        place.outside.mkdir()
        (place.outside / "secret").write_text(f'{{"secret": "{SECRET}"}}\n')
        return place

    @property
    def code(self) -> str:
        """Python code that leaves the mark."""
        return f"open({str(self.mark)!r}, 'w').write('executed')\n"

    @property
    def shell(self) -> str:
        """A shell's command that leaves the mark."""
        return f"touch {self.mark}"


@dataclass(frozen=True)
class Seen:
    """What one action did.  ``refused``: it ended with a typed error; ``text``: all that it printed."""

    executed: bool
    read: tuple[str, ...]
    network: tuple[str, ...]
    blocked: bool
    refused: bool
    text: str

    @property
    def faults(self) -> list[str]:
        """The names of what it must not do and did."""
        read = [f"read {', '.join(self.read)}"] if self.read else []
        network = [f"network {', '.join(self.network)}"] if self.network else []
        found = {"executed": self.executed, "blocked": self.blocked}
        return [name for name, happened in found.items() if happened] + read + network


def watched(action: Action, place: Place, timeout: float = TIMEOUT) -> Seen:
    """Run the action in a fork, with the place's folder as working directory."""
    output, answers = place.folder.parent / "output", place.folder.parent / "answers"
    answers.write_text(ANSWERS)
    with Watch(place.outside) as watch:
        child = os.fork()
        if child == 0:
            _run_here(action, place, output, answers)
        status = _wait(child, timeout)
        opened = watch.opened()
    return _seen(place, output, status, opened)


def watched_process(arguments: list[str], place: Place, timeout: float = TIMEOUT) -> Seen:
    """The same for the installed command, started from the place's folder."""
    output, answers = place.folder.parent / "output", place.folder.parent / "answers"
    answers.write_text(ANSWERS)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # "." would be the case's
    command = [str(Path(sys.executable).with_name("vla-agent")), *arguments]
    with Watch(place.outside) as watch, output.open("w") as out, answers.open() as given:
        started = subprocess.Popen(
            command, cwd=place.folder, env=environment, stdin=given, stdout=out, stderr=out, start_new_session=True
        )
        try:
            status = started.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            status = -1
        opened = watch.opened()
    return _seen(place, output, status, opened)


def _seen(place: Place, output: Path, status: int, opened: list[str]) -> Seen:
    text = output.read_text(errors="replace")
    network = sorted({line.removeprefix("NETWORK ") for line in text.splitlines() if line.startswith("NETWORK ")})
    secret = [f"the secret of {place.outside.name}"] if SECRET in text else []
    return Seen(place.mark.exists(), (*opened, *secret), tuple(network), status == -1, status == 2, text)


def _run_here(action: Action, place: Place, output: Path, answers: Path) -> None:
    """In the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        for target, source in (
            (0, os.open(answers, os.O_RDONLY)),
            (1, os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)),
        ):
            os.dup2(source, target)
        os.dup2(1, 2)
        os.truncate(1, 0)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
        os.chdir(place.folder)
        sys.addaudithook(_note_network)
        code = _act(action)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _act(action: Action) -> int:
    from vla_agent.cli import main
    from vla_agent.errors import VlaAgentError

    if isinstance(action, list):
        try:
            return main(action)
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1
    try:
        action()
    except VlaAgentError as error:
        print(error)
        return 2
    return 0


def _note_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        os.write(2, f"NETWORK {arguments[0]}\n".encode())
    elif event == "socket.connect" and arguments[0].family != socket.AF_UNIX:
        os.write(2, f"NETWORK {arguments[1]}\n".encode())


def _wait(child: int, timeout: float) -> int:
    """Exit code; -1 where the process had to be killed."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 1
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


class Watch:
    """Notices every opening of a file below a folder, by any process (inotify)."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._places: dict[int, Path] = {}
        for place in [folder, *(p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink())]:
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(place), IN_OPEN)
            if self._fd < 0 or number < 0:
                raise OSError(ctypes.get_errno(), "inotify is not available here")
            self._places[number] = place

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def opened(self) -> list[str]:
        """Names of the files that were opened since the last call."""
        found: set[str] = set()
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return sorted(found)
            while data:
                number, mask, _, length = struct.unpack("iIII", data[:16])
                name = data[16 : 16 + length].rstrip(b"\0").decode(errors="replace")
                data = data[16 + length :]
                if not mask & IN_ISDIR:
                    found.add(f"{self._places[number].name}/{name}")
