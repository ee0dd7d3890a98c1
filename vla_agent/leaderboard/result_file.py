"""Result files: what a policy did in every episode of a frozen suite, and what may stand on a leaderboard.

A file is believed only as far as it can be checked: it must be of the suite of this release, byte for byte, hold each
of its episodes once, with the frozen fingerprints, and its scores must follow from them.  That its policy acted so, a
maintainer finds out by playing it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vla_agent.errors import ReportError
from vla_agent.files.bounded_reading import parse_json, read_bytes
from vla_agent.files.canonical_json import changes, digest
from vla_agent.gate.evidence.gate_player import NOT_DONE, REFRAIN
from vla_agent.leaderboard.frozen_suite import Suite, read_suite
from vla_agent.leaderboard.scores import scores
from vla_agent.leaderboard.suite_names import SUITES

FORMAT = 1
RESULT = "result.json"
LARGEST = 4 << 20  # bytes of a result file
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Row = tuple[str, str, int, str, bool, bool, int, str]  # cell, task, seed, fingerprint, outcome, success, steps, state
COLUMNS = ("control", "task", "seed", "fingerprint", "outcome", "success", "steps", "state_hash")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SuitePart(_Part):
    name: str
    sha256: Hash


class PolicyPart(_Part):
    """``digest``: SHA-256 over the names and hashes of its files; empty for a scripted policy."""

    name: str
    digest: Hash | Literal[""]
    control: Literal["", "blind", "shuffled"]


class Result(_Part):
    """``about``: parameters, training data and whatever a reader should know, written by who enters it."""

    format: Literal[1]
    suite: SuitePart
    policy: PolicyPart
    about: str = Field(max_length=500)
    execution: dict[str, Any]
    versions: dict[str, Any]
    simulator: str
    scores: dict[str, Any]
    episodes: list[Row]


def result_of(report: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
    """The result of a report of `evaluate_suite`."""
    files, settings = report["hashes"]["policy"], report["summary"]["settings"]
    return {
        "format": FORMAT,
        "suite": {"name": suite.name, "sha256": suite.sha256},
        "policy": {
            "name": str(report["policy"]),
            "digest": digest(files) if files else "",
            "control": report["control"],
        },
        "about": "",
        "execution": {"mode": settings.get("execution", "open_loop"), "delay_ms": settings.get("delay_ms", 0.0)},
        "versions": {name: report["versions"][name] for name in ("vla_agent", "mujoco", "numpy")},
        "simulator": report["hashes"]["simulator"],
        "scores": report["summary"]["scores"],
        "episodes": [[row[column] for column in COLUMNS] for row in report["episodes"]],
    }


def result_text(result: Mapping[str, Any]) -> str:
    """The file: one line an episode."""
    head = json.dumps({key: value for key, value in result.items() if key != "episodes"}, indent=1)
    rows = ",\n".join(json.dumps(row) for row in result["episodes"])
    return head.removesuffix("\n}") + ',\n "episodes": [\n' + rows + "\n]}\n"


def read_result(file: Path) -> dict[str, Any]:
    """A result that may be compared with others of its suite.

    Raises:
        ReportError: it cannot be read, is of another suite or another edition of it, lacks or adds an episode, or
            states other scores than its episodes give.
    """
    content = read_bytes(file, ReportError, LARGEST)
    data = parse_json(content, file, ReportError)
    try:
        Result.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise _refused(file, "the file is no result", key, first["msg"], str(first.get("input"))[:80]) from error
    suite = _require_suite(file, data["suite"])
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in data["episodes"]]
    _require_episodes(file, rows, suite)
    found = json.loads(json.dumps(scores(rows, suite)))
    for key, right, stated in changes(found, data["scores"]):
        raise _refused(file, "the scores do not follow from the episodes", f"scores.{key}", right, stated)
    return dict(data)


def _require_suite(file: Path, stated: Mapping[str, str]) -> Suite:
    known = SUITES.get(stated["name"])
    if known is None:
        raise _refused(
            file,
            "the result is of a suite that this release does not have",
            "suite.name",
            ", ".join(SUITES),
            stated["name"],
        )
    if known != stated["sha256"]:
        what = "the result is of another edition of the suite: it cannot be compared"
        raise _refused(file, what, "suite.sha256", known, stated["sha256"])
    return read_suite(stated["name"])


def _require_episodes(file: Path, rows: list[dict[str, Any]], suite: Suite) -> None:
    """Each episode of the suite once, in its order, and outcomes as the cell means them."""
    if len(rows) != len(suite.episodes):
        what = "the result does not hold exactly the suite's episodes"
        raise _refused(file, what, "episodes", len(suite.episodes), len(rows))
    for number, (row, episode) in enumerate(zip(rows, suite.episodes, strict=True)):
        where = f"episodes.{number}"
        stated = (row["control"], row["task"], row["seed"], row["fingerprint"])
        frozen = (episode.cell, episode.task, episode.seed, episode.fingerprint)
        if stated != frozen:
            raise _refused(file, "the result holds another episode than the suite", where, frozen, stated)
        name = episode.cell.removeprefix("probe.")
        wanted = row["outcome"] if name in REFRAIN else row["success"] != (name in NOT_DONE)
        if row["outcome"] != wanted:
            raise _refused(file, "an outcome contradicts its episode's success", where, wanted, row["outcome"])


def _refused(file: Path, what: str, key: str, expected: object, found: object) -> ReportError:
    remedy = "send the result.json that vla-agent eval POLICY --suite NAME wrote, with this release, unchanged"
    return ReportError(what, file=file, key=key, expected=expected, found=found, remedy=remedy)
