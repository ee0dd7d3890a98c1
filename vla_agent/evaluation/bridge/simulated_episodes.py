"""Simulated outcomes of one policy: of a report of `vla-agent eval`, or of a CSV file of another simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_agent.errors import ReportError
from vla_agent.evaluation.bridge.real_trials import Scene, parse_trials
from vla_agent.evaluation.result_store import read_report
from vla_agent.files import bounded_reading
from vla_agent.files.canonical_json import digest
from vla_agent.files.input_limits import REPORT_BYTES

POLICY = "policy"  # the control that is the policy itself


@dataclass(frozen=True)
class Simulated:
    """Simulated episodes.

    Attributes:
        name: the policy's.
        policy: digest of its files; None where the file does not say it, or there are none.
        outcomes: in the order of the file.
        content: the file's bytes.
    """

    file: Path
    name: str
    policy: str | None
    outcomes: Mapping[Scene, bool]
    content: bytes

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(dict.fromkeys(task for task, _ in self.outcomes))


def read_simulated(path: Path) -> Simulated:
    """Read ``path``: a report.json, its folder, or a CSV file with the columns task, scene or seed, and success.

    Raises:
        ReportError: it cannot be read, has no episode of the policy, or is a gate's report.
    """
    file = path / "report.json" if path.is_dir() else path
    if file.suffix == ".csv":
        content = _content(file)
        trials = parse_trials(file, content)
        return Simulated(file, file.stem, None, {t.scene: t.success for t in trials}, content)
    report, content = read_report(file), _content(file)
    if "gate" in report:
        raise ReportError(
            "a gate's episodes are no sample of fixed size",
            file=file,
            key="gate",
            expected="the report of vla-agent eval, whose number of episodes was fixed beforehand",
            found="the report of vla-agent gate, which goes on or stops depending on outcomes",
            remedy="vla-agent eval POLICY --episodes 200 --controls none -o DIR, and give that folder",
        )
    rows = [row for row in report["episodes"] if row["control"] == POLICY]
    outcomes = {(str(row["task"]), str(row["seed"])): bool(row["success"]) for row in rows}
    if not outcomes or len(outcomes) != len(rows):
        raise ReportError(
            "the report does not have each simulated episode once",
            file=file,
            key="episodes",
            expected="at least one episode of the policy, each task and seed once",
            found=f"{len(rows)} episodes in {len(outcomes)} scenes",
            remedy="get the report.json that vla-agent eval wrote",
        )
    files = report["hashes"].get("policy") or None
    return Simulated(file, str(report["policy"]), digest(files) if files else None, outcomes, content)


def _content(file: Path) -> bytes:
    try:
        return bounded_reading.read_bytes(file, ReportError, REPORT_BYTES)
    except OSError as error:
        raise ReportError(
            "the simulated episodes cannot be read",
            file=file,
            key="--simulated",
            expected="a report of vla-agent eval, its folder, or a CSV file",
            found=error.strerror or str(error),
            remedy="check the path",
        ) from error
