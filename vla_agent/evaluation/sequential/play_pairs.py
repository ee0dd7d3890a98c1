"""Plays two policies on the same seeds, a few seeds of every task at a time, and no further than somebody asks.

``OUT/pairs.json`` holds what both are and every pair so far; it is written after each block, so that ``--resume`` goes
on from there.  The episodes themselves are not kept: a seed can be evaluated again, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_agent.errors import ReportError
from vla_agent.evaluation.compare_reports import outcomes_of
from vla_agent.evaluation.evaluate import EvaluationSettings, describe, evaluate, make_plan
from vla_agent.evaluation.result_store import identity_of, read_json
from vla_agent.evaluation.sequential.compare_sequential import Pair, impossible, in_order
from vla_agent.files.write_aside import write_text

FILE = "pairs.json"


def play_pairs(
    both: Sequence[EvaluationSettings],
    block: int,
    out: Path | None = None,
    resume: bool = False,
    progress: Callable[..., None] | None = None,
) -> Iterator[Pair]:
    """Pairs in the order of their seeds, without end; a block is played when its first pair is asked for.

    Args:
        both: alike but for the policy; ``episodes``, ``out`` and ``resume`` are not used.
        block: seeds of every task that are played between two looks.
        out: folder of ``pairs.json``; None keeps nothing.
        resume: begin with the pairs that are there.
        progress: as in `vla_agent.evaluation.evaluate.evaluate`.

    Raises:
        OptionError: ``out`` holds pairs and ``resume`` is False.
        ReportError: they are of other policies, tasks or seeds, or cannot be read.
    """
    if block < 1:
        raise impossible("--block", "at least 1", block)
    identity: dict[str, Any] = {
        "policies": [_identity(settings) for settings in both],
        "seed": both[0].seed,
        "block": block,
    }
    file = None if out is None else out / FILE
    pairs = _earlier(file, identity, resume)
    yield from pairs
    tasks = len(identity["policies"][0]["tasks"]) if both else 1
    done = len(pairs) // tasks
    while True:
        rounds = [
            outcomes_of(evaluate(replace(s, seed=s.seed + done, episodes=block, controls="none", out=None), progress))
            for s in both
        ]
        fresh = in_order([(task, seed, o, rounds[1][c, task, seed]) for (c, task, seed), o in rounds[0].items()])
        done += block
        pairs += fresh
        if file is not None:
            write_text(file, json.dumps(identity | {"pairs": pairs}) + "\n")
        yield from fresh


def _identity(settings: EvaluationSettings) -> dict[str, Any]:
    """What must be equal for pairs to belong together."""
    plan = make_plan(replace(settings, controls="none", out=None))
    found: dict[str, Any] = json.loads(
        json.dumps(identity_of(describe(plan) | {"summary": {"settings": plan.recorded_settings()}}))
    )
    return found


def _earlier(file: Path | None, identity: dict[str, Any], resume: bool) -> list[Pair]:
    """The pairs in the file; [] where there is none."""
    if file is None or not file.exists():
        return []
    if not resume:
        raise impossible("--out", "an empty folder, or --resume", file)
    data = read_json(file)
    found = {key: data.get(key) for key in identity} if isinstance(data, dict) else None
    if found != identity:
        wrong = "file" if found is None else ", ".join(key for key in identity if found[key] != identity[key])
        raise ReportError("the folder holds the pairs of another comparison", file=file, key=wrong,
                          expected="the same policies, tasks, simulator, seed and block", found="others",
                          remedy="name another --out")  # fmt: skip
    try:
        return [(str(task), int(seed), bool(first), bool(second)) for task, seed, first, second in data["pairs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError("the pairs cannot be read", file=file, key="pairs", expected="[task, seed, outcome, outcome]",
                          found=str(error), remedy="name another --out") from error  # fmt: skip
