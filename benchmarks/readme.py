"""The README's table of numbers, written from the records alone."""

from __future__ import annotations

import os
from typing import Any

from benchmarks import record
from benchmarks.shared.evaluations import ROOT
from vla_agent.errors import VlaAgentError

BEGIN, END = "<!-- numbers: python -m benchmarks readme -->", "<!-- end of numbers -->"


def table() -> str:
    """All records as Markdown, then the names of what is not measured yet."""
    lines = ["| name | what | measured | n | target | reached |", "|---|---|---|---|---|---|"]
    missing = []
    for name in record.names():
        try:
            result, title = record.read(name), record.load(name).TITLE
        except (VlaAgentError, ImportError):
            result = None
        if result is None:
            missing.append(f"`{name}`")
            continue
        sign = "at least" if result["better"] == "higher" else "at most"
        reached = "yes" if result["passed"] else "**no**"
        target = f"{sign} {_number(result, result['target'])}"
        lines.append(f"| `{name}` | {title} | {_value(result)} | {result['n']} | {target} | {reached} |")
    return "\n".join([*lines, "", f"Not measured yet: {', '.join(missing) or 'none'}."])


def quote() -> int:
    """Replace what stands between the markers in README.md."""
    file = ROOT / "README.md"
    text = file.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    aside = file.with_suffix(".md.part")
    aside.write_text(f"{head}{BEGIN}\n{table()}\n{END}{tail}", encoding="utf-8")
    os.replace(aside, file)
    return 0


def _value(result: dict[str, Any]) -> str:
    value = _number(result, result["value"])
    if not (interval := result.get("interval")):
        return value
    return f"{value} ({' to '.join(_number(result, bound) for bound in interval)})"


def _number(result: dict[str, Any], value: float) -> str:
    """Shares as percentages but where they round to 0, all else with its unit; counts (``of 200``) as they are."""
    unit = str(result["unit"])
    if unit.removeprefix("of ").isdigit():
        return f"{value:.4g} {unit}"
    if unit.startswith(("of ", "share of ")) and (not value or abs(value) >= 0.0005):
        return f"{100 * value:.1f} %"
    return f"{value:.3g} {unit}" if unit in ("ms", "s") else f"{value:.3g}"
