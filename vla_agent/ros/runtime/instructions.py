"""Valid instructions, and a rate limit for them: each instruction restarts the policy's episode."""

from __future__ import annotations

from collections import deque
from unicodedata import category

LONGEST = 500  # characters
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: control, half a character, line and paragraph breaks
WITHIN = 1.0  # seconds
CHANGES = 4  # changed instructions within that time: more is neither a person nor a program that waits for a result
MESSAGES = 50  # messages of any content within that time: more keeps the node from its images


class InstructionGuard:
    """Rate limit of instructions; times in seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._messages: deque[float] = deque(maxlen=MESSAGES + 1)
        self._changes: deque[float] = deque(maxlen=CHANGES + 1)
        self._text: str | None = None

    def excess(self, text: str, now: float, copy: bool = False) -> str:
        """Count an instruction; why there are too many, or empty where there are not.

        ``copy``: of a message that comes by another subscription, too, and is counted there.
        """
        if not copy:
            self._messages.append(now)
        if text != self._text:
            self._text = text
            self._changes.append(now)
        for times, most, what in ((self._changes, CHANGES, "other"), (self._messages, MESSAGES, "")):
            if len(times) > most and times[-1] - times[0] < WITHIN:
                return f"a flood of instructions: more than {most} {what}".rstrip() + f" within {WITHIN:g} s"
        return ""


def invalid_reason(text: str) -> str:
    """Why an instruction is invalid; empty where it is valid."""
    if len(text) > LONGEST:
        return f"an instruction has at most {LONGEST} characters; this one has {len(text)}"
    if any(category(character) in CONTROL for character in text):
        return "an instruction has one line, without control characters"
    return ""
