"""Differences between two contracts: all of them at once, each with the nearest fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from typing import Any

from vla_agent.contract.layout import Camera, Field, Layout

ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """One difference between two contracts.

    Args:
        key: where, such as ``cameras.front.height`` or ``control_hz``.
        mine, theirs: the values of both sides.
        fix: how to make theirs fit mine, in words or as a command-line option.
    """

    key: str
    mine: Any
    theirs: Any
    fix: str

    def __str__(self) -> str:
        return f"{self.key}: {self.mine} against {self.theirs}"


def compare(mine: Layout, theirs: Layout) -> list[Difference]:
    """Every difference between two contracts; empty where they are equal."""
    found = _named("cameras", mine.cameras, theirs.cameras)
    found += _named("state", mine.state, theirs.state)
    found += _named("action", mine.action, theirs.action)
    fixes = {
        "control_hz": f"control at {mine.control_hz:g} Hz, or train on data recorded at {theirs.control_hz:g} Hz",
        "chunk_length": f"train with chunk_length: {theirs.chunk_length}, or drive with chunks of {mine.chunk_length}",
        "language": f"give instructions in '{mine.language}'",
        "version": "install the same vla-agent release on both sides",
    }
    for key, fix in fixes.items():
        a, b = getattr(mine, key), getattr(theirs, key)
        if a != b:
            found.append(Difference(key, a, b, fix))
    return found


def _named(
    part: str, mine: Sequence[Camera] | Sequence[Field], theirs: Sequence[Camera] | Sequence[Field]
) -> list[Difference]:
    """Differences of two lists of named parts: renamed, absent, changed, in another order."""
    a, b = {x.name: x for x in mine}, {x.name: x for x in theirs}
    renamed = _renamed(a, b)
    found = []
    for name in a:
        if name in b:
            found += _attributes(part, a[name], b[name])
        elif name in renamed:
            found.append(Difference(f"{part}.{name}", name, renamed[name], _rename(part, name, renamed[name])))
        else:
            found.append(Difference(f"{part}.{name}", _text(a[name]), ABSENT, f"add {part}.{name}"))
    for name in b:
        if name not in a and name not in renamed.values():
            found.append(Difference(f"{part}.{name}", ABSENT, _text(b[name]), f"leave {part}.{name} out"))
    order = [n for n in a if n in b], [n for n in b if n in a]
    if order[0] != order[1]:
        found.append(Difference(f"{part}.order", *order, f"put {part} in the order {', '.join(order[0])}"))
    return found


def _renamed(a: dict[str, Any], b: dict[str, Any]) -> dict[str, str]:
    """Names that only ``a`` has -> names that only ``b`` has, where all else is equal."""
    pairs: dict[str, str] = {}
    for name in (n for n in a if n not in b):
        alike = [n for n in b if n not in a and n not in pairs.values() and _values(a[name]) == _values(b[n])]
        if alike:
            pairs[name] = max(alike, key=lambda n: SequenceMatcher(None, name, n).ratio())
    return pairs


def _rename(part: str, name: str, other: str) -> str:
    if part == "cameras":
        return f"if it is the same camera: --rename-camera {name}={other}"
    return f"if it is the same quantity, rename {part}.{other} to {name}"


def _attributes(part: str, mine: Any, theirs: Any) -> list[Difference]:
    a, b = _values(mine), _values(theirs)
    return [
        Difference(f"{part}.{mine.name}.{key}", a[key], b[key], _fix(f"{part}.{mine.name}", key, a[key], b[key]))
        for key in a
        if a[key] != b[key]
    ]


def _fix(place: str, key: str, mine: Any, theirs: Any) -> str:
    """How to make the value at ``place`` fit ``mine``."""
    if key in ("height", "width"):
        return f"render or resize the images of {place} to {key} {mine}"
    if key == "hz":
        rate = "once a control period" if mine is None else f"at {mine:g} Hz"
        return f"take the images of {place} {rate}"
    if key in ("color", "unit", "frame", "rotation"):
        return f"convert {place} from {key} '{theirs}' to '{mine}'"
    if key == "size":
        return f"give {mine} numbers for {place}"
    return f"limit or rescale {place}: {key} {mine}"


def _values(part: Any) -> dict[str, Any]:
    return {f.name: getattr(part, f.name) for f in fields(part) if f.name != "name"}


def _text(part: Any) -> str:
    return "(" + ", ".join(f"{k} {v}" for k, v in _values(part).items() if v not in ("", None)) + ")"
