"""The thread that owns a source: it steps it in time and hands it what viewers ask for.

The drawing thread takes frames from `Stepper.wait`.  There is room for one: a newer frame replaces one that was not
taken, so drawing never makes stepping wait, and what is drawn is never old.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass

from vla_agent.errors import VlaAgentError
from vla_agent.view.source import Command, Frame, Source

MAX_WAITING = 200  # commands; a viewer who sends more has them dropped
COUNTED = 40  # steps over which the rate is measured
IDLE = 0.05  # seconds between two calls of a source where nothing changes, at least
LATE = 5  # periods behind after which lost time is not caught up


@dataclass(frozen=True)
class Shown:
    """A frame, and how many commands had been handled when it was made."""

    frame: Frame
    handled: int


@dataclass(frozen=True)
class Trouble:
    """What went wrong, in words.  ``command``: the control that was refused; empty for an error of the source."""

    text: str
    command: str = ""


class Stepper:
    """Runs a source in a thread of its own, from `start` to `stop`."""

    def __init__(self, source: Source) -> None:
        self._source, self._commands = source, queue.Queue[Command](MAX_WAITING)
        self._changed = threading.Condition()
        self._newest: Shown | None = None
        self._troubles: deque[Trouble] = deque(maxlen=20)
        self._end, self._ready, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._times: deque[float] = deque(maxlen=COUNTED)
        self.sent = self.handled = self.dropped = self.steps = 0
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        """Open the source, and step it from now on.

        Raises:
            whatever `Source.open` raised.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread; the source is closed in it."""
        self._end.set()
        self._wake.set()
        self._thread.join(timeout)

    def send(self, command: Command) -> int:
        """Hand a command to the source; returns its number.  Called by any thread, never waits."""
        try:
            self._commands.put_nowait(command)
            self.sent += 1
            self._wake.set()
        except queue.Full:
            self.tell(Trouble("too many commands are waiting; this one was dropped", command.name))
        return self.sent

    def wait(self, timeout: float) -> tuple[Shown | None, list[Trouble]]:
        """The newest frame that was not taken yet, and what went wrong since the last call."""
        with self._changed:
            if self._newest is None and not self._troubles:
                self._changed.wait(timeout)
            shown, self._newest = self._newest, None
            troubles = list(self._troubles)
            self._troubles.clear()
        return shown, troubles

    @property
    def rate(self) -> float:
        """Measured frames a second of the source; 0 where it stands still."""
        times = list(self._times)
        if len(times) < 2 or time.monotonic() - times[-1] > 1.0:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-9)

    def _run(self) -> None:
        try:
            self._source.open()
        except BaseException as error:  # raised again by `start`
            self._failure = error
            self._ready.set()
            return
        self._ready.set()
        try:
            self._loop()
        finally:
            self._source.close()

    def _loop(self) -> None:
        last, moved = -math.inf, True  # when the last step was due, and whether it changed anything
        while not self._end.is_set():
            asked = self._take_commands()
            period, now = 1.0 / max(self._source.hz, 1e-3), time.monotonic()
            rest = last + (period if moved else max(period, IDLE)) - now
            if rest > 0 and (moved or not asked):
                self._wake.wait(rest)  # a command ends the rest: it may change the rate
                self._wake.clear()
                continue
            last = now if now - last > LATE * period or not moved else last + period
            moved = self._step()

    def _take_commands(self) -> bool:
        """Hand on what viewers ask for; whether they asked for anything."""
        commands = self._drained()
        for command in latest(commands):
            try:
                self._source.command(command)
            except Exception as error:
                self.tell(Trouble(in_words(error), command.name))
        return bool(commands)

    def _drained(self) -> list[Command]:
        found: list[Command] = []
        while True:
            try:
                found.append(self._commands.get_nowait())
            except queue.Empty:
                self.handled += len(found)
                return found

    def _step(self) -> bool:
        try:
            frame = self._source.step()
        except Exception as error:
            self.tell(Trouble(in_words(error)))
            return False
        if frame is None:
            return False
        self.steps += 1
        self._times.append(time.monotonic())
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = Shown(frame, self.handled)
            self._changed.notify_all()
        return True

    def tell(self, trouble: Trouble) -> None:
        """Have something said on the page."""
        with self._changed:
            if trouble not in self._troubles:
                self._troubles.append(trouble)
            self._changed.notify_all()


def latest(commands: list[Command]) -> list[Command]:
    """The commands, without values that a later one of the same control replaced: a slider's way does not matter."""
    kept: list[Command] = []
    for command in commands:
        if kept and command.value is not None and kept[-1].name == command.name and kept[-1].value is not None:
            kept.pop()
        kept.append(command)
    return kept


def in_words(error: Exception) -> str:
    """What a viewer reads of an error."""
    if not isinstance(error, VlaAgentError):
        return f"unexpected {type(error).__name__}: {error}"
    parts = [error.what, error.found and f"found: {error.found}", error.remedy]
    return "; ".join(part for part in parts if part)
