"""Real trials from a CSV file: one row each, read whole or refused with row and column.

``task`` and ``scene`` (or ``seed``) name the scene, ``success`` says 1, 0, true or false; where there are several
policies or a statement is signed, ``policy`` has the policy's digest; ``simulated`` may have the outcome of the
simulated episode in the same scene, ``note`` anything.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vla_agent.errors import ReportError
from vla_agent.files.bounded_reading import as_text, read_bytes

MOST_BYTES = 2**20  # of a CSV file: 10,000 rows
SCENES = ("scene", "seed")  # one of them
RECORDING = "recording"  # instead of success: see `recorded_trials`
COLUMNS = ("task", *SCENES, "success", "policy", "simulated", RECORDING, "note")
OUTCOMES = {"1": True, "true": True, "0": False, "false": False}
LEAST_DIGITS = 8  # of a policy's digest, which has 64
MOST_TEXT = 200  # characters of a name
Scene = tuple[str, str]  # task; number or name of the scene


@dataclass(frozen=True)
class Trial:
    """One row; ``policy``: the digest's first digits, or None; ``simulated``: None where the file does not say it."""

    row: int
    scene: Scene
    success: bool
    policy: str | None
    simulated: bool | None


def read_content(file: Path) -> bytes:
    """The file's bytes.

    Raises:
        ReportError: missing or too large.
    """
    try:
        return read_bytes(file, ReportError, MOST_BYTES)
    except OSError as error:
        raise wrong(
            file, "file", "a CSV file of real trials", error.strerror or str(error),
            "check the path; vla-agent bridge --plan 50 --simulated DIR -o FILE.csv writes a file to fill in",
        ) from error  # fmt: skip


def parse_trials(file: Path, content: bytes) -> list[Trial]:
    """The trials in a file's content.

    Raises:
        ReportError: no CSV in UTF-8, wrong columns, an empty or impossible value, a scene twice.
    """
    trials = [_trial(file, number, row) for number, row in parse_rows(file, content)]
    if not trials:
        raise wrong(
            file, "row 2", "one row for each real trial", "none", "add the trials below the line of the columns"
        )
    first: dict[tuple[str | None, Scene], int] = {}
    for trial in trials:
        key = trial.policy, trial.scene
        if key in first:
            raise wrong(
                file, f"row {trial.row}, columns task, {'/'.join(SCENES)}", "each scene once for a policy",
                f"{' '.join(trial.scene)} in the rows {first[key]} and {trial.row}",
                "keep one trial of a scene; trials of one scene are not independent",
            )  # fmt: skip
        first[key] = trial.row
    return trials


def parse_rows(file: Path, content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of every line that is not empty, below the line of the columns.

    Raises:
        ReportError: no CSV in UTF-8, wrong columns, or a line with more or fewer values.
    """
    text = as_text(content, file, ReportError).removeprefix("\ufeff")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        _require_columns(file, header)
        for values in lines:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise wrong(file, f"row {lines.line_num}", f"{len(header)} values: {', '.join(header)}",
                            f"{len(values)} values", "one value for each column; quote a comma")  # fmt: skip
            yield lines.line_num, dict(zip(header, (value.strip() for value in values), strict=True))
    except csv.Error as error:
        raise wrong(file, f"row {lines.line_num}", "a row of CSV", str(error), "write the file as plain CSV") from error


def _require_columns(file: Path, header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        near = get_close_matches(unknown[0], COLUMNS, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise wrong(file, "row 1", f"columns of {', '.join(COLUMNS)}", f"{', '.join(map(repr, unknown))}{hint}",
                    "rename the column, or remove it")  # fmt: skip
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    missing = [name for name in ("task",) if name not in header]
    missing += [] if {"success", RECORDING} & set(header) else ["success"]
    scenes = [name for name in SCENES if name in header]
    if twice or missing or len(scenes) != 1:
        raise wrong(file, "row 1", f"task, success, one of {', '.join(SCENES)}", ", ".join(header) or "nothing",
                    "name the columns in the first line")  # fmt: skip


def _trial(file: Path, number: int, row: Mapping[str, str]) -> Trial:
    name = next(name for name in SCENES if name in row)
    for key in ("task", name):
        if not 0 < len(row[key]) <= MOST_TEXT:
            raise wrong(file, f"row {number}, column {key}", f"1 to {MOST_TEXT} characters", f"{len(row[key])}",
                        "name the task and the scene of the trial")  # fmt: skip
    scene = row[name]
    if name == "seed":
        if not (scene.isascii() and scene.isdigit()):
            raise wrong(file, f"row {number}, column seed", "a whole number, 0 or more", repr(scene),
                        "give the seed of the simulated episode")  # fmt: skip
        scene = str(int(scene))
    simulated = _outcome(file, number, "simulated", row["simulated"]) if row.get("simulated") else None
    success = _outcome(file, number, "success", row.get("success", ""))
    return Trial(number, (row["task"], scene), success, _policy(file, number, row), simulated)


def _outcome(file: Path, number: int, column: str, text: str) -> bool:
    if text.lower() not in OUTCOMES:
        raise wrong(file, f"row {number}, column {column}", ", ".join(OUTCOMES), repr(text),
                    "write the outcome, or remove the row of a trial that was not made")  # fmt: skip
    return OUTCOMES[text.lower()]


def _policy(file: Path, number: int, row: Mapping[str, str]) -> str | None:
    if "policy" not in row:
        return None
    text = row["policy"].lower().removeprefix("sha256:")
    if not LEAST_DIGITS <= len(text) <= 64 or set(text) - set("0123456789abcdef"):
        raise wrong(file, f"row {number}, column policy", f"the policy's digest, its first {LEAST_DIGITS} to 64 digits",
                    repr(row["policy"]), "vla-agent bridge --plan writes it into each row")  # fmt: skip
    return text


def wrong(file: Path, key: str, expected: Any, found: Any, remedy: str) -> ReportError:
    """The error for a file of trials."""
    return ReportError(
        "the file of real trials is not right", file=file, key=key, expected=expected, found=found, remedy=remedy
    )
