"""Success lost where people word the instruction freely."""

from __future__ import annotations

from typing import Any

from benchmarks.nano.instructed import Setting, lost

NAME = "nano-free"
TITLE = "success rate lost on free wordings, same scenes"
TARGET = 0.10
UNIT = "fraction of episodes"
BETTER = "lower"
WORDINGS = 6  # in turns; families have two or three


def run() -> dict[str, Any]:
    return measure(Setting())


def measure(setting: Setting) -> dict[str, Any]:
    return lost("free", setting, WORDINGS)
