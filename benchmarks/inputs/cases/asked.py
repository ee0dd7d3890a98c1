"""One case: what it has to give, or that it has to be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_agent.errors import VlaAgentError


class Wrong(Exception):
    """Another value than the right one."""


@dataclass(frozen=True)
class Asked:
    """A case.

    Args:
        kind: of input.
        name: in words.
        ask: runs it in an empty folder; raises `Wrong` where the value is another.
        refused: words that a typed error has to hold; None: no error is right.
    """

    kind: str
    name: str
    ask: Callable[[Path], Any]
    refused: tuple[str, ...] | None = None


def wrong_with(case: Asked, folder: Path) -> str:
    """Why the case is not right; "" where it is."""
    folder.mkdir(parents=True)
    try:
        case.ask(folder)
    except VlaAgentError as error:
        if case.refused is None:
            return f"refused: {' '.join(str(error).split())}"[:300]
        parts = (error.file or error.key, error.expected, error.found, error.remedy)
        lacking = [word for word in case.refused if word not in str(error)]
        return f"the error lacks {lacking or 'a part'}: {error}"[:300] if lacking or None in parts else ""
    except Wrong as error:
        return str(error)
    except Exception as error:  # of any kind: an error without a type is never right
        return f"{type(error).__name__}: {error}"[:300]
    return "" if case.refused is None else "read, but it has to be refused"


def equal(what: str, found: Any, right: Any, within: float = 0.0) -> None:
    """Raise `Wrong` where an array or a list is another."""
    a, b = np.asarray(found), np.asarray(right)
    numbers = a.dtype.kind in "biuf" and b.dtype.kind in "biuf"
    if (
        a.shape != b.shape or not (np.abs(a.astype(float) - b.astype(float)) <= within).all()
        if numbers
        else list(a) != list(b)
    ):
        raise Wrong(f"{what}: {str(a.tolist())[:120]}, right: {str(b.tolist())[:120]}")
