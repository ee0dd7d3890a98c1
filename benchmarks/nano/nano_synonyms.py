"""Success lost where words are replaced by synonyms that training never used."""

from __future__ import annotations

from typing import Any

from benchmarks.nano.instructed import Setting, lost

NAME = "nano-synonyms"
TITLE = "success rate lost on synonyms never trained, same scenes"
TARGET = 0.08
UNIT = "fraction of episodes"
BETTER = "lower"


def run() -> dict[str, Any]:
    return measure(Setting())


def measure(setting: Setting) -> dict[str, Any]:
    return lost("synonyms", setting)
