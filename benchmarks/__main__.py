"""``python -m benchmarks run NAME ...`` measures; ``list`` shows results; ``docs`` writes the pages made of them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks import docs_files, record
from vla_agent.errors import VlaAgentError


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 measured and passed, or listed; 1 measured and not passed; 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="measure, write benchmarks/results/NAME.json and docs/benchmarks.md")
    runner.add_argument("names", nargs="+", metavar="NAME", help="one of: " + ", ".join(record.names()))
    lister = commands.add_parser("list", help="all benchmarks with value, target, and what falls short")
    lister.add_argument("--strict", action="store_true", help="exit code 1 where one falls short or is not measured")
    pages = commands.add_parser("docs", help="write docs/benchmarks.md from the records, and the picture of the layers")
    pages.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a file is not up to date")
    args = parser.parse_args(argv)
    try:
        if args.command == "docs":
            return docs_files.check() if args.check else docs_files.write()
        return _run(args.names) if args.command == "run" else _list(args.strict)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(names: list[str]) -> int:
    for name in names:
        record.load(name)  # refuse a wrong name before the first measurement
    results = [record.measure(name) for name in names]
    docs_files.write()
    for result in results:
        _print_rows(result.get("rows"))
        verdict = "passed" if result["passed"] else "NOT passed"
        print(f"{result['name']}: {_number(result['value'])} {result['unit']}, {_target(result)}: {verdict}")
        if result.get("notes"):
            print(f"  {result['notes']}")
    return 0 if all(result["passed"] for result in results) else 1


def _list(strict: bool) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "value", "target", "n", "result", "what"):
        table.add_column(column, no_wrap=column in ("name", "result"))
    short, unmeasured = [], []
    for name in record.names():
        try:
            module, result = record.load(name), record.read(name)
        except (VlaAgentError, ImportError) as error:
            unmeasured.append(name)
            table.add_row(name, "", "", "", "[red]broken[/]", str(error).splitlines()[0])
            continue
        declared = {"target": module.TARGET, "better": module.BETTER, "unit": module.UNIT}
        if result is None:
            unmeasured.append(name)
            table.add_row(name, "", _target(declared), "", "[yellow]not measured[/]", module.TITLE)
            continue
        if not result["passed"]:
            short.append(name)
        state = "[green]passed[/]" if result["passed"] else "[red]falls short[/]"
        value = f"{_number(result['value'])} {result['unit']}"
        table.add_row(name, value, _target(declared), str(result["n"]), state, module.TITLE)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"falls short: {', '.join(short) or 'none'}; not measured: {', '.join(unmeasured) or 'none'}")
    return 1 if strict and (short or unmeasured) else 0


def _print_rows(rows: list[dict[str, Any]] | None) -> None:
    if not rows:
        return
    columns = list(rows[0])
    lines = [columns, *([_number(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _target(result: dict[str, Any]) -> str:
    return f"{'>=' if result['better'] == 'higher' else '<='} {_number(result['target'])} {result['unit']}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
