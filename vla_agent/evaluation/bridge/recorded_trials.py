"""Outcomes that the recorder noted: a column ``recording`` names the bag of each trial, instead of what was typed in.

The recorder node writes into each bag whether the operator called it a success, and the digest of the policy that ran.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml.error import YAMLError

from vla_agent.errors import ReportError, VlaAgentError
from vla_agent.evaluation.bridge.real_trials import COLUMNS, RECORDING, parse_rows, wrong
from vla_agent.evaluation.bridge.real_trials import OUTCOMES as SAID
from vla_agent.files.bounded_reading import parse_json
from vla_agent.files.bounded_yaml import read_yaml

OUTCOMES = {"success": True, "failure": False}
FACTS = ("outcome", "policy")  # of the bag's custom data, each as JSON


def with_recordings(file: Path, content: bytes) -> bytes:
    """The CSV file with the outcome and the policy of each row's recording, whose name becomes its note.

    Args:
        file: recordings are looked for beside it.
        content: of the file; it is returned as it is where it has no column ``recording``.

    Raises:
        ReportError: as `real_trials.parse_rows`; a recording that is missing, has no outcome, is named twice, or
            contradicts ``success`` or ``policy`` of its row.
    """
    rows = list(parse_rows(file, content))
    if not any(RECORDING in row for _, row in rows):
        return content
    named: dict[Path, int] = {}
    told = []
    for number, row in rows:
        folder = file.parent / row[RECORDING]
        place = folder.resolve()
        if place in named or not row[RECORDING]:
            found = f"{row[RECORDING] or 'nothing'}, as in row {named[place]}" if place in named else "nothing"
            raise wrong(file, f"row {number}, column {RECORDING}", "a recording of its own", found,
                        "name the bag of this trial")  # fmt: skip
        named[place] = number
        told.append(row | _told(file, number, row, folder))
    return _written(told)


def _told(file: Path, number: int, row: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What the recording says of the row: ``success``, ``policy``, ``note``."""
    outcome, policy = _outcome(folder)
    given = row.get("policy", "").lower().removeprefix("sha256:")
    if row.get("success") and SAID.get(row["success"].lower()) != OUTCOMES[outcome]:
        key, expected, found = "success", str(int(OUTCOMES[outcome])), row["success"]
    elif given and policy and not policy.startswith(given):
        key, expected, found = "policy", policy, given
    else:
        success = str(int(OUTCOMES[outcome]))
        return {"success": success, "policy": policy or given, "note": f"recording {folder.name}"}
    raise wrong(file, f"row {number}, column {key}", f"{expected}, as the recording says", found,
                "correct the row, or leave it empty")  # fmt: skip


def _outcome(folder: Path) -> tuple[str, str]:
    """Outcome in the recorder's word, and the digest of the policy that ran, which may be empty."""
    metadata = folder / "metadata.yaml"
    try:
        data = read_yaml(metadata, ReportError)
        custom = data["rosbag2_bagfile_information"]["custom_data"] or {}
        facts = {
            key: parse_json(custom[key].encode(), metadata, ReportError)
            for key in ("outcome", "policy")
            if key in custom
        }
    except OSError as error:
        raise _unusable(metadata, "file", error.strerror or str(error)) from error
    except (YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, VlaAgentError):
            raise
        raise _unusable(metadata, "custom_data", f"{type(error).__name__}: {error}") from error
    if facts.get("outcome") not in OUTCOMES:
        raise _unusable(metadata, "custom_data.outcome", str(facts.get("outcome")))
    policy = facts.get("policy")
    return str(facts["outcome"]), policy if isinstance(policy, str) else ""


def _unusable(file: Path, key: str, found: str) -> ReportError:
    return ReportError(
        "the recording does not say how the trial ended",
        file=file,
        key=key,
        expected="a bag of the recorder node, ended as success or failure",
        found=found,
        remedy="correct the name, or write the outcome into the column success of a row without recording",
    )


def _written(rows: list[dict[str, str]]) -> bytes:
    policies = any(row["policy"] for row in rows)
    columns = [c for c in COLUMNS if c != RECORDING and any(c in row for row in rows) and (c != "policy" or policies)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_plain(row, columns) for row in rows)
    return text.getvalue().encode()


def _plain(row: Mapping[str, str], columns: list[str]) -> dict[str, str]:
    return {column: row.get(column, "") for column in columns}
