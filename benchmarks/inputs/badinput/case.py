"""A case of bad input, and its judge.

A good answer is a typed error that names file or key, what was expected, what was found and the remedy; exit code 2 and
no traceback; and no file changed, deleted or left behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.inputs.badinput.good_inputs import Good
from vla_agent.errors import VlaAgentError

TIMEOUT = 180  # seconds for one command

# Prepares the mistake in an empty folder, and returns the arguments of `vla-agent`, or a call of the library.
Mistake = Callable[[Path, Good], "list[str] | Callable[[], object]"]


@dataclass(frozen=True)
class Case:
    """One mistake.

    Args:
        name: what is wrong, in words.
        mistake: makes it.
        error: the type that a library call must raise.
        words: what the message must contain: the file or key at fault, a valid name.
        environment: variables of the command; such a case always runs as a separate process.
    """

    name: str
    mistake: Mistake
    error: type[VlaAgentError]
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The program's message, and its faults; none for a good answer."""

    case: str
    message: str
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.faults


def judge(case: Case, place: Path, good: Good, own_process: bool) -> Answer:
    """Make the mistake in the empty folder ``place`` and judge the answer.

    Args:
        case: the mistake.
        place: an empty folder, made if needed.
        good: what mistakes are made from.
        own_process: run commands as processes; else in this one, which is faster.
    """
    place.mkdir(parents=True, exist_ok=True)
    action = case.mistake(place, good)
    before = snapshot(place)
    if callable(action):
        message, faults = _call(case, action)
    elif own_process or case.environment:
        message, faults = _process(case, action, place)
    else:
        message, faults = _command(action)
    faults += [f"lacks '{word}'" for word in case.words if word not in message]
    faults += _missing_parts(message)
    after = snapshot(place)
    faults += [f"{name} was changed" for name in before if name in after and before[name] != after[name]]
    faults += [f"{name} is gone" for name in before.keys() - after.keys()]
    faults += [f"{name} was left behind" for name in after.keys() - before.keys()]
    return Answer(case.name, message, tuple(faults))


def snapshot(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of each file, ``"folder"`` of each folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def _call(case: Case, action: Callable[[], object]) -> tuple[str, list[str]]:
    try:
        action()
    except VlaAgentError as error:
        wrong = type(error) is VlaAgentError or not isinstance(error, case.error)
        return f"error: {error}", [f"is a {type(error).__name__}, not a {case.error.__name__}"] if wrong else []
    except Exception as error:
        return f"{type(error).__name__}: {error}", [f"{type(error).__name__} is not a typed error"]
    return "", ["nothing was raised"]


def _process(case: Case, arguments: list[str], place: Path) -> tuple[str, list[str]]:
    command = [sys.executable, "-m", "vla_agent", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "VLA_AGENT_DEBUG": "", **case.environment}
    try:
        done = subprocess.run(
            command,
            cwd=place.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return "", [f"no answer within {TIMEOUT} s"]
    return done.stderr, _command_faults(done.returncode, done.stderr)


def _command(arguments: list[str]) -> tuple[str, list[str]]:
    from vla_agent.cli import main

    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(io.StringIO()):
        try:
            code: object = main(arguments)
        except SystemExit as error:  # argparse
            code = error.code
    return output.getvalue(), _command_faults(code, output.getvalue())


def _command_faults(code: object, message: str) -> list[str]:
    faults = [] if code == 2 else [f"exit code {code}, not 2"]
    return [*faults, "shows a traceback"] if "Traceback" in message else faults


def _missing_parts(message: str) -> list[str]:
    labels = {line.split(":")[0].strip() for line in message.splitlines() if line.startswith("  ")}
    faults = [] if labels & {"file", "key"} else ["names neither file nor key"]
    return faults + [f"lacks '{label}:'" for label in ("expected", "found", "remedy") if label not in labels]
