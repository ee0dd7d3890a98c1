"""What users of comparable software met and reported, and more of the same kinds, with the right value of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NAME = "inputs-cases"
TITLE = "cases of input that users reported, and of the same kinds by generators: the right value, or refused in full"
TARGET = 1.0
UNIT = "share right"
BETTER = "higher"
LEAST = 150


def run() -> dict[str, Any]:
    answers = list(answered())
    kinds: dict[str, dict[str, int]] = {}
    for kind, _, text in answers:
        row = kinds.setdefault(kind, {"cases": 0, "right": 0})
        row["cases"] += 1
        row["right"] += not text
    wrong = [f"{kind}, {name}: {text}" for kind, name, text in answers if text]
    notes = (
        "right: arrays equal those that were recorded (JPEG: within 6 of 255), or a typed error with file or key, "
        "expected, found and remedy. Edits: `inputs-edit`; a longer training: the tests of finetuning. "
        "Wrong: " + (" | ".join(wrong[:20]) or "none")
    )
    return {
        "value": 1 - len(wrong) / len(answers),
        "n": len(answers),
        "interval": None,
        "seeds": "none: the cases are fixed",
        "rows": [{"kind": kind, **row} for kind, row in kinds.items()],
        "passed": not wrong and len(answers) >= LEAST,
        "notes": notes,
    }


def answered(only: str = "") -> Iterator[tuple[str, str, str]]:
    """Kind and name of each case, and why it is not right; "" where it is."""
    import tempfile
    from pathlib import Path

    from benchmarks.inputs.cases import bag_cases, file_cases, outside_cases, policy_cases
    from benchmarks.inputs.cases.asked import wrong_with

    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as box:
        asked = (case for module in (bag_cases, file_cases, outside_cases, policy_cases) for case in module.cases())
        for number, case in enumerate(case for case in asked if only in f"{case.kind}, {case.name}"):
            yield case.kind, case.name, wrong_with(case, Path(box) / f"{number}")


def main() -> None:
    """``python -m benchmarks.inputs.inputs_cases [WORDS]`` prints the cases whose kind and name hold the words."""
    import sys

    for kind, name, wrong in answered(" ".join(sys.argv[1:])):
        print(kind, name, wrong or "right", sep=" | ", flush=True)


if __name__ == "__main__":
    main()
