"""The report of an evaluation through the ROS graph, and its comparison with one in a single process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vla_agent.errors import ReportError
from vla_agent.evaluation.result_store import read_report
from vla_agent.evaluation.success_statistics import paired_difference, rate
from vla_agent.files.write_aside import write_text


@dataclass(frozen=True)
class GraphEpisode:
    """One episode through the graph; ``stopped``: the supervisor stopped the robot, which ends it."""

    task: str
    seed: int
    instruction: str
    success: bool
    steps: int
    stopped: bool


def summarise(episodes: Sequence[GraphEpisode], report: Mapping[str, Any] | None) -> dict[str, Any]:
    """Success rate; with a report of `vla-agent eval` also the paired difference, graph minus process."""
    summary: dict[str, Any] = {"graph": rate(e.success for e in episodes), "stopped": sum(e.stopped for e in episodes)}
    if report is None:
        return summary
    inside = {(r["task"], r["seed"]): bool(r["success"]) for r in report["episodes"] if r["control"] == "policy"}
    shared = [(e.success, inside[e.task, e.seed]) for e in episodes if (e.task, e.seed) in inside]
    if not shared:
        raise ReportError(
            "the report does not contain these episodes",
            key="report",
            expected=f"the policy's episodes of {sorted({e.task for e in episodes})} with seeds from "
            f"{min(e.seed for e in episodes)} to {max(e.seed for e in episodes)}",
            found=f"{len(inside)} others",
            remedy="evaluate with the same --tasks, --episodes and --seed",
        )
    through, process = zip(*shared, strict=True)
    return summary | {"process": rate(process), "difference": paired_difference(list(through), list(process))}


def require_possible(folder: Path, episodes: Sequence[tuple[str, int]], report: Path | None) -> None:
    """Raise before the episodes are played where their report could not be written or compared.

    Args:
        episodes: (task, seed).

    Raises:
        ReportError: the folder cannot be written, or the report cannot be read or has other episodes.
    """
    if report is not None:
        summarise([GraphEpisode(task, seed, "", False, 0, False) for task, seed in episodes], read_report(report))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        writable, found = False, str(error)
    else:
        found = "no permission to write there"
    if not writable:
        raise ReportError(
            "the report cannot be written",
            file=folder,
            key="results",
            expected="a folder that can be made and written",
            found=found,
            remedy="name another folder",
        )


def write_graph_report(
    folder: Path, settings: Mapping[str, Any], episodes: Sequence[GraphEpisode], report: Path | None
) -> dict:
    """Write ``graph.json`` into the folder, atomically; returns its content.

    Raises:
        ReportError: the report to compare with cannot be read, or has other episodes.
    """
    summary = summarise(episodes, None if report is None else read_report(report))
    content = {"settings": dict(settings), "summary": summary, "episodes": [asdict(e) for e in episodes]}
    write_text(folder / "graph.json", json.dumps(content, indent=1))
    return content
