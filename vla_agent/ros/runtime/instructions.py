"""What an instruction may be, and what keeps a flood of them from the policy: each would begin its episode anew."""

from __future__ import annotations

from collections import deque
from unicodedata import category

LONGEST = 500  # characters
CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: control, half a character, line and paragraph breaks
WITHIN = 1.0  # seconds
CHANGES = 4  # other instructions within that time: more is no person, and no program that waits for an outcome
MESSAGES = 50  # of whatever content: more keeps the node from its pictures


class InstructionGuard:
    """Counts instructions; times in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._messages: deque[float] = deque(maxlen=MESSAGES + 1)
        self._changes: deque[float] = deque(maxlen=CHANGES + 1)
        self._text: str | None = None

    def flood(self, text: str, now: float) -> str:
        """Note an instruction; where there are too many, what is wrong in words, else nothing."""
        self._messages.append(now)
        if text != self._text:
            self._text = text
            self._changes.append(now)
        for times, most, what in ((self._changes, CHANGES, "other"), (self._messages, MESSAGES, "")):
            if len(times) > most and times[-1] - times[0] < WITHIN:
                return f"a flood of instructions: more than {most} {what}".rstrip() + f" within {WITHIN:g} s"
        return ""


def refusal(text: str) -> str:
    """What is wrong with an instruction, in words; empty where nothing is."""
    if len(text) > LONGEST:
        return f"an instruction has at most {LONGEST} characters; this one has {len(text)}"
    if any(category(character) in CONTROL for character in text):
        return "an instruction has one line, without control characters"
    return ""
