"""Typed errors.  Each names the file, the key, what was expected, what was found and the remedy.

The command line prints them without a traceback and leaves with exit code 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from os import PathLike
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import ValidationError


# What moves a terminal's cursor, changes its colours or the direction of letters, or is half a letter.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """Text of files and messages for a terminal: control characters as ``\\x1b``; line breaks and tabs stay."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def wrong_keys(error: ValidationError, model: Any = None) -> dict[str, str]:
    """``key`` and ``found`` of a typed error: all problems of a checked file at once.

    A list is not called too short where it is so only because its entries are wrong.

    Args:
        model: the pydantic model of the whole file; with it, an unknown key comes with the nearest that there is.
    """
    errors = error.errors()
    inside = {e["loc"][:depth] for e in errors for depth in range(len(e["loc"]))}
    told = [e for e in errors if e["type"] != "too_short" or e["loc"] not in inside]
    problems = [
        (
            ".".join(map(str, e["loc"])) or "file",
            _unknown(e["loc"], model) if e["type"] == "extra_forbidden" else e["msg"],
        )
        for e in told
    ]
    return {
        "key": "; ".join(key for key, _ in problems),
        "found": "; ".join(f"{key}: {message}" for key, message in problems),
    }


def _unknown(location: tuple[Any, ...], model: Any) -> str:
    """What is said of an unknown key."""
    kinds = [model]
    for part in location[:-1]:  # an index, or the name of a union's member, stays where it is
        inner = [m.model_fields[part].annotation for m in _models(kinds) if part in m.model_fields]
        kinds = inner or kinds
    keys = list(dict.fromkeys(name for m in _models(kinds) for name in m.model_fields))
    near = get_close_matches(str(location[-1]), keys, 1, 0.5)
    if near:
        return f"there is no such key; did you mean {near[0]}?"
    return "there is no such key" + (f"; keys here: {', '.join(keys)}" if keys else "")


def _models(kinds: list[Any]) -> Iterator[Any]:
    """The pydantic models in annotations, such as ``tuple[Joint, ...]`` and ``A | B | None``."""
    for kind in kinds:
        if hasattr(kind, "model_fields"):
            yield kind
        else:
            yield from _models(list(get_args(kind)))


class VlaAgentError(Exception):
    """Base of every error that a user can cause or fix.  Its text can be printed anywhere (`printable`).

    Args:
        what: what is wrong, in one sentence.
        file: the file or folder concerned, ``path`` or ``path:line``.
        key: the key, field, option or array concerned.
        expected: what would be valid, with the valid names.
        found: what was there.
        remedy: how to fix it.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | PathLike[str] | None = None,
        key: str | None = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.file = None if file is None else str(file)
        self.key = key
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.remedy = remedy
        lines = [what]
        for name in ("file", "key", "expected", "found", "remedy"):
            value = getattr(self, name)
            if value is not None:
                lines.append(f"  {name + ':':<10}{value}")
        super().__init__(printable("\n".join(lines)))


class ContractError(VlaAgentError):
    """Two parts disagree on cameras, state, action, rate or chunk."""


class ObservationError(VlaAgentError):
    """An observation does not fit the contract (missing camera, wrong shape, NaN)."""


class TaskError(VlaAgentError):
    """A task file, a suite or a task name is wrong."""


class DatasetError(VlaAgentError):
    """A dataset is missing, truncated or inconsistent."""


class CheckpointError(VlaAgentError):
    """A policy folder is missing, damaged or not of this project."""


class RecipeError(VlaAgentError):
    """A training recipe is wrong."""


class MemoryShortage(VlaAgentError):
    """A training run needs more memory or disk than there is."""


class DivergenceError(VlaAgentError):
    """Losses or gradients of a training run are NaN or infinite."""


class ProcessError(VlaAgentError):
    """One of several processes that train together has ended."""


class ReportError(VlaAgentError):
    """An evaluation report is missing, damaged or from another suite."""


class GateError(VlaAgentError):
    """A gate file is wrong, or a policy may not reach hardware."""


class CertificateError(GateError):
    """A certificate, its evidence, a key or the ledger is missing, damaged, changed or not trusted."""


class SimulatorError(VlaAgentError):
    """The simulator cannot start or render here (GL, model files)."""


class EnvironmentFault(VlaAgentError):
    """An environment breaks its protocol, cannot be opened, or its process has ended."""


class OptionError(VlaAgentError):
    """A command-line option has an impossible value."""


class RobotError(VlaAgentError):
    """A robot's description is wrong, or does not fit the policy or the model."""


class NodeError(VlaAgentError):
    """A ROS 2 node or the graph around it cannot start or work."""


class ServingError(VlaAgentError):
    """A policy server cannot be reached or refuses, or server and client break the protocol."""
