"""Bombs of every format and protocol that is read: memory, time, and the wait of a server's other clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "gate-bounds"
TITLE = "bombs of every format and protocol: over 1 GiB, over 5 s, another client delayed over 0.5 s, or no typed error"
TARGET = 0.0
UNIT = "violations"
BETTER = "lower"
LEAST_CASES = 80
MEMORY = 2**30  # bytes over what the process had before
SECONDS = 5.0
DELAY = 0.5  # seconds that a good client of the server waits


def run() -> dict[str, Any]:
    rows = list(measured())
    wrong = [row for row in rows if row["fault"]]
    named = " | ".join(f"{row['format']}, {row['bomb']}: {row['fault']}" for row in wrong) or "none"
    notes = (
        "each bomb is read by the program's own reader in a process of its own, forked from one that has imported it; "
        "peak: resident memory over that at the start; a server's clients attack for 3 s while a good one asks without "
        "pause. Every bomb has to be refused with an error that says expected, found and remedy. "
        f"Violations: {named}"
    )
    return {
        "value": len(wrong),
        "n": len(rows),
        "interval": None,
        "seeds": "none: the bombs are fixed",
        "rows": rows,
        "passed": not wrong and len(rows) >= LEAST_CASES,
        "notes": notes,
    }


def measured(only: str = "") -> Iterator[dict[str, Any]]:
    """A row for each bomb, or for those whose format or name holds ``only``."""
    import tempfile

    from benchmarks.bounds import (
        dataset_bombs,
        evidence_bombs,
        message_bombs,
        picture_bombs,
        recording_bombs,
        text_bombs,
    )
    from benchmarks.bounds.bounded_child import run_case
    from benchmarks.bounds.server_bombs import attacks, run_attack

    _import_readers()
    modules = (text_bombs, evidence_bombs, picture_bombs, dataset_bombs, recording_bombs, message_bombs)
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(case for module in modules for case in module.cases()):
            if only in f"{case.format}, {case.name}":
                outcome = run_case(case, Path(folder) / f"{number}")
                fault = _fault(outcome, 0.0, ("refused", "read") if case.reads else ("refused",))
                yield _row(case.format, case.name, outcome, fault)
    for name, attack in attacks().items():
        if only in f"policy server, {name}":
            outcome, delay = run_attack(attack)
            fault = _fault(outcome, delay, ("read",), timed=False)
            yield _row("policy server", name, outcome, fault) | {"delay_s": round(delay, 3)}


def _row(format: str, name: str, outcome: Any, fault: str) -> dict[str, Any]:
    return {
        "format": format,
        "bomb": name,
        "peak_mib": round(outcome.peak / 2**20, 1),
        "seconds": round(outcome.seconds, 2),
        "fault": fault,
    }


def _fault(outcome: Any, delay: float, allowed: tuple[str, ...], timed: bool = True) -> str:
    """What exceeds the target, or an empty text."""
    faults = [] if outcome.answer in allowed else [f"{outcome.answer} {outcome.text}".strip()]
    faults += [f"{outcome.peak / 2**30:.2f} GiB"] if outcome.peak > MEMORY else []
    faults += [f"{outcome.seconds:.1f} s"] if timed and outcome.seconds > SECONDS else []
    faults += [f"another client waited {delay:.2f} s"] if delay > DELAY else []
    return "; ".join(faults)


def _import_readers() -> None:
    """Once, before the processes are forked: a reader's imports are not its memory."""
    import av  # noqa: F401
    import h5py  # noqa: F401
    import rosbags.highlevel  # noqa: F401
    import rosbags.typesys  # noqa: F401
    import sensor_msgs.msg  # noqa: F401

    import vla_agent.data.convert.convert  # noqa: F401
    import vla_agent.evaluation.replay_episode  # noqa: F401
    import vla_agent.gate.certificate.lab_key  # noqa: F401
    import vla_agent.gate.evidence.ledger  # noqa: F401
    import vla_agent.gate.evidence.played_actions  # noqa: F401
    import vla_agent.robot.control.controller_factory  # noqa: F401
    import vla_agent.ros.messages.conversions  # noqa: F401
    import vla_agent.serving.server  # noqa: F401
    import vla_agent.training.demonstrations  # noqa: F401


def main() -> None:
    """``python -m benchmarks.bounds.gate_bounds [WORDS]`` prints the bombs whose names hold the words."""
    import sys

    for row in measured(" ".join(sys.argv[1:])):
        print(*row.values(), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
