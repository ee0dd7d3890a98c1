"""What a gate shows on a terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_agent.evaluation.play.player import Played
from vla_agent.evaluation.report.template import interval
from vla_agent.gate.report.gate_page import sentence, title_of

EVERY = 25


class Progress:
    """A line now and then: episodes, and how many of each kind of cell."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, played: Played, done: int, total: int) -> None:
        """One more episode; ``total`` counts those of this round."""
        self._counts[played.job.control.partition(".")[0]] += 1
        if done % EVERY == 0 or done == total:
            text = "  ".join(f"{kind} {n}" for kind, n in sorted(self._counts.items()))
            self.console.print(f"{done} episodes, {total} at the end of this round; here: {text}")


def print_summary(report: Mapping[str, Any], out: Path) -> None:
    """Every check, the verdict with its reasons, and where the evidence lies."""
    judged = report["summary"]["judgement"]
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    table = Table(box=None, pad_edge=False)
    for column in ("check", "result", "count", "95 % interval", "threshold"):
        table.add_column(column, no_wrap=True)
    for name, c in judged["checks"].items():
        threshold = "-" if c["threshold"] is None else f"{100 * c['threshold']:g} %"
        table.add_row(title_of(name), c["verdict"], f"{c['k']}/{c['n']}", interval(c["interval"]), threshold)
    console.print(table)
    console.print(f"\n{judged['verdict'].upper()}: {sentence(report)}")
    for reason in judged["reasons"]:
        console.print(f"  {reason}")
    console.print(f"\n{out / 'report.html'}\n{out / 'certificate.json'}")
