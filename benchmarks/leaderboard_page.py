"""The page ``docs/leaderboard/tabletop-1.md``: every result file beside it, each checked, best score first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import record
from vla_agent.leaderboard.frozen_suite import read_suite
from vla_agent.leaderboard.result_file import read_result
from vla_agent.leaderboard.result_page import percent, title_of

SUITE = "tabletop-1"
FOLDER = record.ROOT / "docs" / "leaderboard"
FILE = FOLDER / f"{SUITE}.md"
HEAD = """\
# Leaderboard: {name}

Made by `python -m benchmarks docs` from the result files in `results/`, each of which it checks: suite `{sha256}`,
all of its {count} episodes, and scores that follow from them. [How to read it, and how to enter](../leaderboard.md).
Rates in %, with 95 % intervals.

| | policy | score | success | robustness | grounding | execution | about | file |
|---|---|---|---|---|---|---|---|---|
"""
REFERENCES = ("expert", "random")  # no entries: they neither look nor read, or do not act on purpose


def page() -> str:
    """The page's text.

    Raises:
        ReportError: a result file that cannot be compared.
    """
    suite = read_suite(SUITE)
    found = {file: read_result(file) for file in sorted((FOLDER / "results").glob("*.json"))}
    found = {file: result for file, result in found.items() if result["suite"]["name"] == SUITE}
    order = sorted(found, key=lambda file: (-found[file]["scores"]["score"], file.name))
    lines, place = [], 0
    for file in order:
        place += not is_reference(found[file])
        lines.append(_line(file, found[file], "" if is_reference(found[file]) else str(place)))
    head = HEAD.format(name=SUITE, sha256=suite.sha256[:12], count=len(suite.episodes))
    return head + "\n".join(lines) + "\n"


def is_reference(result: Mapping[str, Any]) -> bool:
    """Whether it stands there for comparison, without a place: a scripted policy, or a control."""
    return result["policy"]["name"] in REFERENCES or bool(result["policy"]["control"])


def _line(file: Path, result: Mapping[str, Any], place: str) -> str:
    scores, execution = result["scores"], result["execution"]
    rates = [percent(of["rate"], of["interval"]) for of in scores["parts"].values()]
    how = execution["mode"] + (f", {execution['delay_ms']:g} ms" if execution["delay_ms"] else "")
    about = result["about"].replace("|", "/").replace("\n", " ")
    cells = [place, title_of(result), percent(scores["score"], scores["interval"]), *rates, how, about]
    return f"| {' | '.join(cells)} | [{file.name}](results/{file.name}) |"
