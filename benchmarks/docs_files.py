"""``python -m benchmarks docs``: files of the documentation that are made from records and settings, not by hand."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import layers_picture, leaderboard_page, numbers_page
from benchmarks.record import ROOT
from vla_agent.files.write_aside import write_text

MADE = {
    numbers_page.FILE: numbers_page.page,
    layers_picture.FILE: layers_picture.picture,
    leaderboard_page.FILE: leaderboard_page.page,
}


def write() -> int:
    """Write those that are not up to date, and print their names.  Exit code 0."""
    for file in _stale():
        write_text(file, MADE[file]())
        print(f"written: {file.relative_to(ROOT)}")
    return 0


def check() -> int:
    """Exit code 1, and their names, where one is not what would be written now."""
    stale = _stale()
    for file in stale:
        print(f"{file.relative_to(ROOT)} is not up to date: python -m benchmarks docs", file=sys.stderr)
    return 1 if stale else 0


def _stale() -> list[Path]:
    return [f for f, make in MADE.items() if not f.exists() or f.read_text(encoding="utf-8") != make()]
