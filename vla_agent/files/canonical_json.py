"""Plain data as canonical JSON bytes, for hashing and signing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(data: Any) -> bytes:
    """JSON with sorted keys, without spaces, ASCII; NaN and infinity are refused."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(data: Any) -> str:
    """SHA-256 of `canonical`."""
    return hashlib.sha256(canonical(data)).hexdigest()


def readable(data: Any) -> str:
    """The same data for a file: sorted keys, indented."""
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + "\n"


def flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as ``a.b.0`` -> leaf; empty ones are leaves.  Dots inside keys are kept."""
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    flat = {k: v for key, value in items for k, v in flatten(value, f"{prefix}{key}.").items()}
    return flat or {prefix.rstrip("."): data}


def changes(expected: Any, found: Any) -> list[tuple[str, Any, Any]]:
    """Every leaf that differs: (dotted key, expected, found); "absent" where there is none."""
    mine, theirs = flatten(expected), flatten(found)
    keys = [k for k in mine | theirs if k not in mine or k not in theirs or _typed(mine[k]) != _typed(theirs[k])]
    return [(k, mine.get(k, "absent"), theirs.get(k, "absent")) for k in sorted(keys)]


def _typed(value: Any) -> tuple[str, str]:
    """1, 1.0 and True are equal in Python, not in a certificate."""
    return type(value).__name__, repr(value)
