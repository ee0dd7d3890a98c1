"""A gate on the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_agent.evaluation.play.player import PlayedEpisode
from vla_agent.evaluation.report.template import interval
from vla_agent.gate.report.wording import headline, latency_refusal, strength_of_evidence, title_of, verdict_sentence

EVERY = 25
WIDTH = 140  # where there is no terminal


class Progress:
    """A line every `EVERY` episodes: how many, and how many of each kind of cell."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def announce_ledger(self, file: Path) -> None:
        """Where attempts are counted."""
        self.console.print(f"attempts are counted in {file}")

    def update(self, played: PlayedEpisode, done: int, total: int) -> None:
        """One more episode; ``total`` counts those of this round."""
        self._counts[played.job.control.partition(".")[0]] += 1
        if done % EVERY == 0 or done == total:
            text = "  ".join(f"{kind} {n}" for kind, n in sorted(self._counts.items()))
            self.console.print(f"{done} episodes, {total} after this round; by kind: {text}")


def print_summary(report: Mapping[str, Any], out: Path, ledger_file: Path) -> None:
    """Every check with its test's numbers, the verdict, reasons and estimate, and where evidence and ledger are."""
    judgement = report["summary"]["judgement"]
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    table = Table(box=None, pad_edge=False)
    table.add_column("check", overflow="fold")
    for column in ("result", "count", "95 % interval", "threshold"):
        table.add_column(column, no_wrap=True)
    for name, c in judgement["checks"].items():
        threshold = "-" if c["threshold"] is None else f"{100 * c['threshold']:g} %"
        table.add_row(title_of(name), c["verdict"], f"{c['k']}/{c['n']}", interval(c["interval"]), threshold)
    console.print(table, soft_wrap=False)
    console.print(f"\n{judgement['verdict'].upper()}: {verdict_sentence(report)}")
    for line in (*judgement["reasons"], headline(judgement), strength_of_evidence(judgement), latency_refusal(report)):
        if line:
            console.print(f"  {line}")
    console.print(f"\n{out / 'report.html'}\n{out / 'certificate.json'}\nledger of attempts: {ledger_file}")
