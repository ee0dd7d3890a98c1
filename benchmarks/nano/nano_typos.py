"""Success lost where two words of the instruction have exchanged letters."""

from __future__ import annotations

from typing import Any

from benchmarks.nano.instructed import Setting, lost

NAME = "nano-typos"
TITLE = "success rate lost on two typing errors, same scenes"
UNIT, BETTER = "fraction of episodes", "lower"
TARGET = 0.08


def run() -> dict[str, Any]:
    return measure(Setting())


def measure(setting: Setting) -> dict[str, Any]:
    return lost("typos", setting)
