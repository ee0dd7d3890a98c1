"""What the reader makes of an instruction, without an episode: right, refused, or taken for another task."""

from __future__ import annotations

from typing import Any

from benchmarks.nano.instructed import EPISODES, HELD_OUT, POLICY

NAME = "nano-read"
TITLE = "instructions and questions read as what is meant, of the worst kind of wording"
TARGET = 0.9
UNIT = "of instructions"
BETTER = "higher"
WORDINGS = 6


def run() -> dict[str, Any]:
    return measure(POLICY, EPISODES, HELD_OUT)


def measure(policy: str, episodes: int, seed: int) -> dict[str, Any]:
    """``episodes``: scenes of each family.  ``seed``: of the first."""
    from sim.perturbations.languages import languages
    from vla_agent.evaluation.success_statistics import rate
    from vla_agent.policy.loading import load_policy

    reader = load_policy(policy).reader
    rows: list[dict[str, Any]] = []
    changes = ("free", "synonyms", "typos", "held out", *(f"language-{code}" for code in languages()))
    for change in changes:
        found = list(_readings(reader, change, episodes, seed))
        rows.append(_row(change, found))
    rows.append(_row("questions", [_asked(reader, **item) for item in _questions()]))
    worst = min(rows, key=lambda row: row["right"] / row["n"])
    total = rate([True] * worst["right"] + [False] * (worst["n"] - worst["right"]))
    return {
        "value": total["success"],
        "n": sum(row["n"] for row in rows),
        "interval": total["interval"],
        "seeds": f"{seed} to {seed + episodes - 1} of each family",
        "rows": rows,
        "notes": f"the worst kind is {worst['wordings']}; no episode is played",
    }


def _row(name: str, found: list[str]) -> dict[str, Any]:
    counts = {what: found.count(what) for what in ("right", "refused", "wrong")}
    return {"wordings": name, "n": len(found), **counts}


def _readings(reader: Any, change: str, episodes: int, seed: int) -> Any:
    """Of each changed instruction: "right", "refused" or "wrong"."""
    from zlib import crc32

    import numpy as np

    from benchmarks.nano.changes import CHANGES
    from sim.tasks.task import load_suite

    for family in load_suite("tabletop").values():
        for k in range(episodes):
            task = family.episode(seed + k)
            rng = np.random.default_rng([seed + k, 301, crc32(change.encode()), crc32(family.name.encode()), k])
            if change == "held out":
                wordings = family.wordings.held_out
                instruction = wordings[k % len(wordings)].format(**task.bindings)
            else:
                effect = CHANGES[change](task, k % WORDINGS, rng)
                if effect is None:
                    continue
                instruction = effect.instruction or task.instruction
            reading = reader.read_task(instruction)
            right = reading.text in (meant(reader.settings, task), task.instruction)
            yield "refused" if reading.refusal else "right" if right else "wrong"


def meant(settings: Any, task: Any) -> str:
    """The task's instruction in the canonical wording of its family."""
    from vla_agent.models.reader.reader import fill

    slots = {}
    for name, words in task.bindings.items():
        if name == "direction":
            slots["direction"] = words
        elif name in ("colour", "zone"):
            slots["colour"] = words
        else:
            role = "target" if name == "target" else "other"
            slots[f"{role}.colour"], slots[f"{role}.shape"] = words.split(" ")
    return fill(settings.tasks[task.family], slots)


def _questions() -> list[dict[str, str]]:
    from pathlib import Path

    from ruamel.yaml import YAML

    file = Path(__file__).parent / "free_questions.yaml"
    return [item for items in YAML(typ="safe").load(file.read_text(encoding="utf-8")).values() for item in items]


def _asked(reader: Any, asked: str, meant: str) -> str:
    reading = reader.read(asked)
    return "right" if reading.likely == meant else "wrong" if reading.likely else "refused"
