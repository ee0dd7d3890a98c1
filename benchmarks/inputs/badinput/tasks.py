"""Wrong names of tasks and suites, wrong task files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.inputs.badinput.case import Case, Mistake
from benchmarks.inputs.badinput.good_inputs import Good
from vla_agent.errors import TaskError


def _file(old: str, new: str) -> Mistake:
    """Evaluate the expert on a task file in which ``old`` was replaced by ``new``."""

    def mistake(place: Path, good: Good) -> list[str]:
        if old not in good.task:
            raise LookupError(f"the task file no longer holds {old!r}")
        file = place / "task.yaml"
        file.write_text(good.task.replace(old, new, 1), encoding="utf-8")
        return [
            "eval",
            "expert",
            "--tasks",
            str(file),
            "--episodes",
            "1",
            "--workers",
            "1",
            "--out",
            str(place / "out"),
        ]

    return mistake


def _options(*options: str) -> Mistake:
    """Evaluate the expert with these options."""
    return lambda place, good: ["eval", "expert", *options, "--episodes", "1", "--out", str(place / "out")]


CASES = (
    Case("unknown task", _options("--tasks", "put_in_try"), TaskError, ("put_in_try", "put_in_tray", "place_beside")),
    Case("unknown suite", _options("--suite", "kitchen"), TaskError, ("kitchen", "tabletop")),
    Case("task file missing", _options("--tasks", "nowhere/task.yaml"), TaskError, ("nowhere/task.yaml",)),
    Case("task file is no YAML", _file("goal: ", "goal: ]"), TaskError, ("task.yaml:",)),
    Case("task file with an unknown key", _file("goal:", "gaol:"), TaskError, ("task.yaml:", "gaol", "goal")),
    Case("task file without a goal", _file("goal: in(target, tray)\n", ""), TaskError, ("task.yaml", "goal")),
    Case("unknown predicate", _file("goal: in(", "goal: inside("), TaskError, ("task.yaml:", "inside", "in")),
    Case("unknown object in a predicate", _file("goal: in(target", "goal: in(thing"), TaskError, ("thing", "target")),
    Case("unknown skill", _file("- pick: target", "- grab: target"), TaskError, ("task.yaml:", "grab", "pick")),
    Case("unknown colour", _file("colours: all", "colours: [pink]"), TaskError, ("task.yaml:", "pink", "purple")),
    Case("unknown slot in a wording", _file("put the {target}", "put the {object}"), TaskError, ("object", "target")),
    Case("time limit of zero", _file("time_limit: 240", "time_limit: 0"), TaskError, ("task.yaml:", "time_limit")),
)
