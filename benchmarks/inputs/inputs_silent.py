"""Wrong units, ranges, orders, clocks and bit depths in otherwise good input: how many are read without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NAME = "inputs-silent"
TITLE = "planted units, ranges, orders, clocks and bit depths in otherwise good input, read wrongly without a word"
TARGET = 0.0
UNIT = "of 300 and more"
BETTER = "lower"
LEAST = 300


def run() -> dict[str, Any]:
    said = list(heard())
    groups: dict[str, dict[str, int]] = {}
    for group, _, word in said:
        row = groups.setdefault(
            group, {"planted": 0, "refused": 0, "found or reported": 0, "read right": 0, "silent": 0}
        )
        row["planted"] += 1
        row[_kind(word)] += 1
    silent = [name for _, name, word in said if not word]
    notes = (
        "a word is a typed error, a finding of `data validate`, or a line of the conversion's report; recordings are "
        "converted and validated. Where a clock is wrong, a picture beside the joints of its own frame or of a "
        "neighbour counts as read right. Left out is what no reader can know: blue and red exchanged where nothing "
        "states an order, a unit whose numbers lie in the range of the right one. Silent: "
        + (" | ".join(silent) or "none")
    )
    return {
        "value": float(len(silent)),
        "n": len(said),
        "interval": None,
        "seeds": "none: the plants are fixed",
        "rows": [{"what": group, **row} for group, row in groups.items()],
        "passed": not silent and len(said) >= LEAST,
        "notes": notes,
    }


def _kind(word: str) -> str:
    if not word:
        return "silent"
    first = word.partition(":")[0]
    return first if first in ("refused", "read right") else "found or reported"


def heard(only: str = "") -> Iterator[tuple[str, str, str]]:
    """Group and name of each plant, and what the program says of it."""
    import tempfile
    from pathlib import Path

    from benchmarks.inputs.silent import datasets, observations, recordings
    from benchmarks.inputs.silent.plant import said_of

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as box:
        plants = (plant for module in (observations, datasets, recordings) for plant in module.plants())
        for number, plant in enumerate(plant for plant in plants if only in plant.name):
            yield plant.group, plant.name, said_of(plant, Path(box) / f"{number}")


def main() -> None:
    """``python -m benchmarks.inputs.inputs_silent [WORDS]`` prints what is said of the plants whose names hold them."""
    import sys

    for group, name, word in heard(" ".join(sys.argv[1:])):
        print(group, name, word or "SILENT", sep=" | ", flush=True)


if __name__ == "__main__":
    main()
