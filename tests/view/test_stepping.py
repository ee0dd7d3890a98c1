"""The thread that steps a source: newest frame wins, commands in order, errors in words, an end."""

from __future__ import annotations

import threading
import time

import pytest

from vla_agent.errors import OptionError
from vla_agent.view.source import Command, Frame, Status
from vla_agent.view.stepping import Stepper, in_words, latest


class Counter:
    """A source that counts its steps."""

    title, controls = "counter", ()

    def __init__(self, hz: float = 200.0) -> None:
        self.hz, self.count, self.commands, self.closed = hz, 0, [], False
        self.threads: set[int] = set()
        self.fault: Exception | None = None

    def open(self) -> None:
        self.threads.add(threading.get_ident())

    def step(self) -> Frame | None:
        self.threads.add(threading.get_ident())
        if self.fault is not None:
            raise self.fault
        self.count += 1
        return Frame(time.time(), Status(str(self.count)))

    def command(self, command: Command) -> None:
        self.threads.add(threading.get_ident())
        if command.name == "refused":
            raise OptionError("not now", key="refused", found="something else", remedy="wait")
        self.commands.append(command)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def running():
    source = Counter()
    stepper = Stepper(source)
    stepper.start()
    yield source, stepper
    stepper.stop()
    assert source.closed


def until(holds, patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.005)


def test_the_newest_frame_wins(running):
    source, stepper = running
    until(lambda: source.count >= 10)
    shown, _ = stepper.wait(5)
    assert int(shown.frame.status.text) >= 10, "nine frames were dropped, not queued"
    assert stepper.dropped >= 9


def test_one_thread_owns_the_source(running):
    source, stepper = running
    stepper.send(Command("a"))
    until(lambda: source.commands)
    assert len(source.threads) == 1 and threading.get_ident() not in source.threads


def test_a_frame_says_how_many_commands_it_knows(running):
    _, stepper = running
    number = stepper.send(Command("a"))
    until(lambda: (shown := stepper.wait(5)[0]) is not None and shown.handled >= number)


def test_errors_are_told_in_words_and_stepping_goes_on(running):
    source, stepper = running
    stepper.send(Command("refused"))
    found = []
    until(lambda: found.extend(stepper.wait(0.1)[1]) or found)
    assert found[0].command == "refused" and found[0].text == "not now; found: something else; wait"
    source.fault = ZeroDivisionError("by zero")
    found.clear()
    until(lambda: found.extend(stepper.wait(0.1)[1]) or found)
    assert found[-1].text == "unexpected ZeroDivisionError: by zero" and not found[-1].command
    source.fault, before = None, source.count
    until(lambda: source.count > before)


def test_the_same_error_is_kept_once():
    source = Counter()
    source.fault = ValueError("again")
    stepper = Stepper(source)
    stepper.start()
    time.sleep(0.2)
    _, troubles = stepper.wait(1)
    stepper.stop()
    assert len(troubles) == 1


def test_the_rate_is_kept_and_measured(running):
    source, stepper = running
    source.hz = 20.0
    time.sleep(0.1)
    before, began = source.count, time.monotonic()
    time.sleep(1.0)
    hz = (source.count - before) / (time.monotonic() - began)
    assert hz < 24, hz


def test_what_open_raises_ends_the_start():
    class Broken(Counter):
        def open(self) -> None:
            raise OptionError("no such thing")

    with pytest.raises(OptionError, match="no such thing"):
        Stepper(Broken()).start()


def test_of_a_sliders_values_the_last_counts():
    moves = [Command("x", 1.0), Command("x", 2.0), Command("y", 1.0), Command("x", 3.0), Command("x", 4.0)]
    assert latest(moves) == [Command("x", 2.0), Command("y", 1.0), Command("x", 4.0)]


def test_every_press_of_a_button_counts():
    assert len(latest([Command("step"), Command("step"), Command("step")])) == 3


def test_too_many_commands_are_dropped_and_said():
    source = Counter()
    stepper = Stepper(source)  # not started: nothing takes them
    for _ in range(250):
        stepper.send(Command("a"))
    assert "dropped" in stepper.wait(0)[1][0].text and stepper.sent == 200


def test_words_of_an_error_leave_out_what_it_lacks():
    assert (
        in_words(OptionError("the instruction is empty", remedy="write one")) == "the instruction is empty; write one"
    )


def test_a_command_is_heard_while_a_slow_source_rests():
    source = Counter(hz=0.01)
    stepper = Stepper(source)
    stepper.start()
    until(lambda: source.count == 1)
    stepper.send(Command("a"))
    until(lambda: source.commands, 2.0)
    assert source.count == 1, "a command is no reason to step before its time"
    source.hz = 100.0
    stepper.send(Command("b"))
    until(lambda: source.count > 3, 2.0)
    stepper.stop()
