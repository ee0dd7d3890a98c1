"""``vla-agent compare``: is one policy better than another?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Test whether the policy of report A is better or worse than that of report B, or whether neither is shown.

Both are reports (or their folders) of vla-agent eval, or of vla-agent gate.  Episodes with the same task and seed are
pairs: exact McNemar test, difference with a 95 % interval, per family and condition corrected by Holm's method.  Where
neither is shown, the number of episodes that would settle it is given.
"""
EPILOG = """\
examples:
  vla-agent eval runs/base --seed 7000 --episodes 50 --controls none --out runs/eval-base
  vla-agent eval runs/tuned --seed 7000 --episodes 50 --controls none --out runs/eval-tuned
  vla-agent compare runs/eval-tuned runs/eval-base
  vla-agent compare runs/eval-tuned runs/eval-base --require-better    # in CI

Fix the number of episodes beforehand: adding episodes until a difference shows makes p values invalid.
exit codes: 0 compared, 1 --require-better and A was not shown to be better, 2 bad input

next: evaluate both on new seeds with the given number of episodes, or run vla-agent gate on the better one
"""
WIDTH = 150  # where there is no terminal


def add_parser(subparsers: Any) -> None:
    """Add ``compare`` to the command line."""
    parser = subparsers.add_parser("compare", help="compare two reports", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("first", metavar="A", help="report.json or its folder: the policy that is judged")
    parser.add_argument("second", metavar="B", help="report.json or its folder: what it is compared with")
    parser.add_argument("--alpha", type=float, default=0.05, metavar="P", help="error rate of a verdict (%(default)s)")
    parser.add_argument(
        "--smallest", type=float, default=0.05, metavar="D", help="smallest difference that matters (%(default)s)"
    )
    parser.add_argument("--require-better", action="store_true", help="exit with 1 unless A is shown to be better")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare; 0, or 1 where A had to be better and is not shown to be."""
    from vla_agent.evaluation.compare_reports import compare

    result = compare(Path(args.first), Path(args.second), args.alpha, args.smallest)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        _print(result)
    return 1 if args.require_better and result["verdict"] != "better" else 0


def _print(result: dict[str, Any]) -> None:
    """The table, the verdict and what would settle it."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from vla_agent.evaluation.compare_reports import difference, sentence

    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for column in ("A", "B", "only A", "only B", "difference, points", "p", "A is"):
        table.add_column(column)
    groups = {"all": result["overall"] | {"verdict": result["verdict"]}, **result["families"], **result["conditions"]}
    for name, row in groups.items():
        table.add_row(
            name.replace("_", " "),
            f"{row['first_k']}/{row['n']}",
            f"{row['second_k']}/{row['n']}",
            str(row["only_first"]),
            str(row["only_second"]),
            difference(row),
            f"{row.get('holm', row['p']):.2g}",
            row["verdict"],
        )
    for side, name in (("first", "A"), ("second", "B")):
        console.print(f"{name}  {result[side]['policy']}  {result[side]['file']}")
    console.print()
    console.print(table, soft_wrap=False)
    console.print(f"\n{sentence(result)}")
    for note in result["notes"]:
        console.print(f"note: {note}")
