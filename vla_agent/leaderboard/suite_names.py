"""The frozen suites, by name, and the SHA-256 of their files.  Imports nothing: the command line asks."""

from __future__ import annotations

SUITES = {"tabletop-1": "0ed2247005abdddfba849c53fb8152f201b9ae0e139961056793e99e752f3e98"}


def is_suite(name: str) -> bool:
    """Whether a name is that of a frozen suite."""
    return name in SUITES
