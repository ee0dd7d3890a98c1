"""An evaluation on the terminal: progress with running success, and the table at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich.progress
from rich.console import Console
from rich.table import Table

from vla_agent.evaluation.failure_modes import refusal_line
from vla_agent.evaluation.play.player import PlayedEpisode
from vla_agent.evaluation.report.evaluation_page import NAMES, family_title, verdict
from vla_agent.evaluation.report.template import interval, percent
from vla_agent.evaluation.success_statistics import CONTROLS

WIDE = 120  # columns from which counts and intervals fit on one line


class Progress:
    """A bar with running success per control and the time left; plain lines where there is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=24),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._tenth = 0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, played: PlayedEpisode, done: int, total: int) -> None:
        """One more episode was played; ``done`` counts those of an earlier run too."""
        count = self._counts[played.job.control]
        count[0] += played.record["success"]
        count[1] += 1
        text = "  ".join(f"{c} {self._counts[c][0]}/{self._counts[c][1]}" for c in CONTROLS if c in self._counts)
        self._bar.update(self._task, completed=done, total=total, description=text)
        if not self.console.is_terminal and 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            self.console.print(f"{done}/{total} episodes  {text}", highlight=False, soft_wrap=True)


def print_summary(report: Mapping[str, Any], out: Path) -> None:
    """The table per family, the verdict, and the files of the report."""
    console = Console(soft_wrap=True)
    controls = report["summary"]["controls"]
    table = Table(box=None, pad_edge=False)
    table.add_column("task family", overflow="fold")
    gap = " " if console.width >= WIDE else "\n"
    for control in controls:
        table.add_column(NAMES[control], justify="right")
    for name in controls["policy"]["families"]:
        cells = (_cell(controls[c]["families"].get(name), gap) for c in controls)
        table.add_row(family_title(report, name), *cells)
    table.add_row("[b]all[/b]", *(f"[b]{_cell(controls[c], gap)}[/b]" for c in controls))
    console.print(table, soft_wrap=False)
    console.print(f"\n{verdict(report)}", highlight=False)
    console.print(f"mean over families: {percent(controls['policy']['mean_over_families'])}", highlight=False)
    if groups := report["summary"].get("groups"):
        text = ", ".join(f"{name.replace('_', ' ')} {g['k']}/{g['n']}" for name, g in groups["rates"].items())
        console.print(f"mean over groups: {percent(groups['mean_over_groups'])} ({text})", highlight=False)
    failures = controls["policy"]["failures"]
    if failures:
        text = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in failures.items())
        console.print(f"failure modes: {text}", highlight=False)
    if refused := refusal_line(report["episodes"]):
        console.print(refused, highlight=False)
    if lacking := report.get("environment", {}).get("left_out"):
        console.print(f"not offered by this environment: {'; '.join(lacking.values())}", highlight=False)
    console.print(f"\n{out / 'report.html'}\n{out / 'report.json'}", highlight=False)


def _cell(numbers: Mapping[str, Any] | None, gap: str) -> str:
    return "-" if numbers is None else f"{numbers['k']}/{numbers['n']}{gap}({interval(numbers['interval'])})"
