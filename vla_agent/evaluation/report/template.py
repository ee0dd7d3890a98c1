"""The template engine of the report pages: undefined names are errors, and numbers do not break over lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2


@cache
def page_template(file: Path) -> jinja2.Template:
    """The template of a page, with the filters ``percent``, ``interval``, ``points`` and ``words``.

    Included files are looked up beside it, then in this folder.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([file.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _unbroken(percent),
        "interval": _unbroken(interval),
        "points": _unbroken(points),
        "words": lambda text: str(text).replace("_", " "),
    }
    return environment.get_template(file.name)


def _unbroken(function: Callable[[Any], str]) -> Callable[[Any], str]:
    """The function with non-breaking spaces in its result."""
    return lambda value: function(value).replace(" ", "\u00a0")


def percent(value: float | None) -> str:
    """A fraction in per cent without decimals; 0 and 100 only where they are exact."""
    if value is None:
        return "-"
    shown = round(100 * value)
    if (shown == 100 and value < 1) or (shown == 0 and value > 0):
        return f"{100 * value:.1f} %"
    return f"{shown} %"


def interval(pair: tuple[float, float]) -> str:
    low, high = (round(100 * p) for p in pair)
    return f"{low} to {high} %"


def points(row: Mapping[str, Any]) -> str:
    """A ``difference`` in points with its ``interval``."""
    return f"{100 * row['difference']:+.0f} ({100 * row['interval'][0]:+.0f} to {100 * row['interval'][1]:+.0f})"
