"""One run of an instruction, without ROS: what happens during it, and which end that is, with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from vla_agent.ros.runtime.instructions import invalid_reason

WORDS = 2.0  # seconds to wait for the supervisor's own words after a stop
LONGEST = 86_400.0  # seconds of a time limit: a day


class Outcome(IntEnum):
    """As in RunTask.action."""

    SUCCESS = 1
    FAILURE = 2
    STOPPED = 3
    REFUSED = 4


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    outcome: Outcome
    reason: str


def refusal(instruction: str, time_limit: float) -> str:
    """Why a goal is refused whatever the robot does; empty where it is valid."""
    if not instruction.strip():
        return "the goal has no instruction"
    if wrong := invalid_reason(instruction.strip()):
        return wrong
    if not (math.isfinite(time_limit) and 0 < time_limit <= LONGEST):
        return f"time_limit is in seconds, more than 0 and at most {LONGEST:g}; found {time_limit:g}"
    return ""


class TaskRun:
    """A run that has begun.  The first thing that ends it counts.

    Args:
        instruction: as the policy gets it.
        time_limit: seconds.
        now: when it began, seconds of the clock that `tick` is given, too.
    """

    def __init__(self, instruction: str, time_limit: float, now: float) -> None:
        self.instruction = instruction
        self._limit, self._began, self._now = time_limit, now, now
        self._stopped_at: float | None = None
        self._words = ""
        self.steps = 0
        self.ending: Ending | None = None

    @property
    def seconds(self) -> float:
        """From the start to the last tick."""
        return self._now - self._began

    def end(self, outcome: Outcome, reason: str) -> None:
        """End the run, unless it has ended."""
        if self.ending is None:
            self.ending = Ending(outcome, reason)

    def note_step(self) -> None:
        """Count a control step with an action of the policy."""
        self.steps += 1

    def note_stopped(self, now: float) -> None:
        """The supervisor has stopped the robot; its words may come later (`note_words`)."""
        if self._stopped_at is None:
            self._stopped_at = now

    def note_words(self, words: str) -> None:
        """What the supervisor says of its stop."""
        self._words = self._words or words

    def note_instruction(self, text: str) -> None:
        """An instruction on the topic; another than this run's takes its place."""
        if text.strip() != self.instruction:
            told = (
                f'another instruction was given: "{text.strip()}"' if text.strip() else "the instruction was taken back"
            )
            self.end(Outcome.STOPPED, told)

    def note_refused(self, reason: str) -> None:
        """The policy refuses the instruction, or doubts it."""
        self.end(Outcome.FAILURE, f"the policy refuses: {reason}")

    def tick(self, now: float) -> Ending | None:
        """Look at the time; returns the ending, if there is one."""
        self._now = now
        if self._stopped_at is not None and (self._words or now - self._stopped_at >= WORDS):
            self.end(Outcome.STOPPED, self._words or "the safety supervisor stopped the robot")
        elif self._stopped_at is None and self.seconds >= self._limit:
            self.end(Outcome.FAILURE, f"the time limit of {self._limit:g} s is over")
        return self.ending
