"""The frozen suites, by name, and the SHA-256 of their files.  Imports nothing: the command line asks."""

from __future__ import annotations

SUITES = {"tabletop-1": "0ee2af5cece78cd1dd0a6af986d0b2497e72be3c1e9c560c67258cd221259cc7"}


def is_suite(name: str) -> bool:
    """Whether a name is that of a frozen suite."""
    return name in SUITES
