"""Seeded mutations of every format and protocol that is read; ``VLA_AGENT_FUZZ=SECONDS`` says for how long."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

NAME = "inputs-fuzz"
TITLE = (
    "mutations of every format and protocol that is read: untyped errors, hangs over 10 s, memory over 2 GiB, writes "
    "outside of the output folder"
)
TARGET = 0.0
UNIT = "faults"
BETTER = "lower"
SECONDS = 3600.0
SEED = 20_260
SHOWN = 20  # faults in the notes


def run() -> dict[str, Any]:
    seconds = float(os.environ.get("VLA_AGENT_FUZZ", SECONDS))
    counts: dict[str, dict[str, int]] = {}
    faults: dict[str, str] = {}
    for case in played(SEED, seconds):
        row = counts.setdefault(case.target, {"cases": 0, "refused": 0, "read": 0, "fault": 0})
        row["cases"] += 1
        row[case.answer] += 1
        if case.answer == "fault":
            faults.setdefault(f"{case.target}: {case.text}", f"case {case.number}")
    total = sum(row["cases"] for row in counts.values())
    found = " | ".join(f"{fault} ({at})" for fault, at in list(faults.items())[:SHOWN]) or "none"
    notes = (
        f"{seconds:,.0f} s, {total:,} cases of {len(counts)} targets in turn, each in a child process with a limit of "
        "address space; a hang is 10 s of processor time, or 120 s of any. An error has to name file or key, expected, "
        "found and remedy. `python -m benchmarks.inputs.inputs_fuzz NUMBER` plays one case again. Faults: " + found
    )
    return {
        "value": float(sum(row["fault"] for row in counts.values())),
        "n": total,
        "interval": None,
        "seeds": [SEED],
        "rows": [{"target": name, **row} for name, row in counts.items()],
        "passed": not faults and len(counts) == len(all_targets()),
        "notes": notes,
    }


def all_targets() -> list[Any]:
    """Everything that is fuzzed."""
    from benchmarks.inputs.fuzz import data_targets, message_targets, text_targets

    return [target for module in (data_targets, text_targets, message_targets) for target in module.targets()]


def played(seed: int, seconds: float, only: str = "", first: int = 0, last: int = 2**31) -> Iterator[Any]:
    """The cases of the targets whose name holds ``only``."""
    from benchmarks.inputs.fuzz.harness import play

    _import_readers()
    targets = [target for target in all_targets() if only in target.name]
    yield from play(targets, seed, seconds, first, last)


def _import_readers() -> None:
    """Once, before the processes are forked: a reader's imports are not its memory."""
    import av  # noqa: F401
    import h5py  # noqa: F401
    import rosbags.highlevel  # noqa: F401
    import ruamel.yaml  # noqa: F401

    import sim.tasks.task_file  # noqa: F401
    import vla_agent.data.convert.convert  # noqa: F401
    import vla_agent.data.edit.edit  # noqa: F401
    import vla_agent.data.validate.validate  # noqa: F401
    import vla_agent.gate.certificate.explanation  # noqa: F401
    import vla_agent.models.backbones.pointing.pointing_backbone  # noqa: F401
    import vla_agent.policy.loading  # noqa: F401
    import vla_agent.serving.server  # noqa: F401
    from benchmarks.inputs.makers.bags import store

    store()


def main() -> None:
    """``python -m benchmarks.inputs.inputs_fuzz [NUMBER | SECONDS WORDS]`` prints one case, or the faults of a run."""
    import sys

    words = sys.argv[1:]
    if len(words) == 1:
        number = int(words[0])
        for case in played(SEED, 600.0, first=number, last=number + 1):
            print(case)
        return
    for case in played(int(words[2]) if len(words) > 2 else SEED, float(words[0]), words[1]):
        if case.answer == "fault":
            print(case.number, case.target, case.text, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
