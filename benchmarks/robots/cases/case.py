"""A case: what is done, and what was wrong with the outcome."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vla_agent.errors import VlaAgentError

Check = Callable[[Path], str]  # an empty folder -> what was wrong; empty: nothing


@dataclass(frozen=True)
class Case:
    """``kind``: cases of one kind stand together in the record."""

    kind: str
    name: str
    check: Check


def judged(case: Case, folder: Path) -> str:
    """What was wrong with the outcome of a case; an exception that it does not expect is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return case.check(folder)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def refused(call: Callable[[], object], *words: str) -> str:
    """Whether a call raises a typed error that has all of these words."""
    try:
        call()
    except VlaAgentError as error:
        missing = [word for word in words if word not in str(error)]
        return f"not said: {', '.join(missing)}: {' '.join(str(error).split())[:300]}" if missing else ""
    return "it is taken"


def told(words: list[str], code: int, *said: str) -> str:
    """Whether `vla-agent WORDS` leaves with this exit code and says all of that."""
    from vla_agent.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            found = main(words)
        except SystemExit as error:
            found = error.code if isinstance(error.code, int) else 2
    text = out.getvalue()
    missing = [word for word in said if word not in text]
    if found != code or missing:
        return f"exit code {found}, not said: {', '.join(missing) or 'nothing'}: {' '.join(text.split())[-300:]}"
    return ""


def unless(right: bool, found: object) -> str:
    """Empty where it is right, else what was found."""
    return "" if right else f"found {found}"[:300]
