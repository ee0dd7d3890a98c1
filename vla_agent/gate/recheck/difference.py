"""What `vla-agent verify` reports: something that is not as it was certified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vla_agent.files.canonical_json import changes


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was certified."""

    what: str
    expected: object
    found: object

    def __str__(self) -> str:
        return f"{self.what}: certified {_short(self.expected)}, found {_short(self.found)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 70 else text[:67] + "..."


def differences(prefix: str, expected: Any, found: Any) -> Iterator[Difference]:
    """Every leaf of plain data that differs, as ``PREFIX.KEY``."""
    for key, mine, theirs in changes(expected, found):
        yield Difference(f"{prefix}.{key}", mine, theirs)
