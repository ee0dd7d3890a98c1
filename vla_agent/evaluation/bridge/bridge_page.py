"""``report.html``: the real rate as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_agent.evaluation.bridge.bridge import sentence, span
from vla_agent.evaluation.report.template import page_template

PIXELS, LABEL = 360, 15  # height of the scatter plot, and of a label in it


def page(report: Mapping[str, Any], statement: Mapping[str, Any] | None = None) -> str:
    """The page's text.

    Args:
        report: of `bridge.bridge`.
        statement: what was signed, where something was: ``id``, ``certificate``, ``key``.
    """
    level = report["level"]
    return page_template(Path(__file__).with_name("bridge_template.html")).render(
        report=report,
        level=f"{100 * level:g} %",
        policies=[
            {
                "name": policy["name"],
                "digest": policy["digest"],
                "sentence": sentence(policy, level),
                "rows": [_row("all", policy["all"], level), *_task_rows(policy["tasks"], level)],
                "all": policy["all"],
                "order": report["order"]["tasks"][policy["name"]],
                "simulated": policy["simulated"],
            }
            for policy in report["policies"]
        ],
        statement=statement,
    )


def _task_rows(tasks: Mapping[str, Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """The rows of tasks, with the ``shift`` in pixels that keeps their labels in the scatter plot apart."""
    rows = [_row(name.replace("_", " "), row, level) for name, row in tasks.items()]
    lowest = -1000.0
    for row in sorted(rows, key=lambda r: -r["alone_at"][0]):
        place = PIXELS * (1 - row["alone_at"][0] / 100)
        lowest = max(place, lowest + LABEL)
        row["shift"] = round(lowest - place, 1)
    return rows


def _row(name: str, row: Mapping[str, Any], level: float) -> dict[str, Any]:
    """A row with its numbers in words, and places in per cent of the plot's width."""
    return {
        "name": name,
        "numbers": row,
        "text": span(row["rate"], row["interval"], level),
        "alone": span(row["real"]["rate"], row["real"]["interval"], level),
        "correlation": "cannot be told" if row["correlation"] is None else f"{row['correlation']:+.2f}",
        "at": [round(100 * x, 2) for x in (row["rate"], *row["interval"])],
        "alone_at": [round(100 * x, 2) for x in (row["real"]["rate"], *row["real"]["interval"])],
        "simulated_at": round(100 * row["simulated"]["success"], 2),
    }
