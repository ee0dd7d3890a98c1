"""``vla-agent compare``: is one policy better than another?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

DESCRIPTION = """\
Test whether the policy of report A is better or worse than that of report B, or whether neither is shown.

Both are reports (or their folders) of vla-agent eval, or of vla-agent gate.  Episodes with the same task and seed are
pairs: exact McNemar test, difference with a 95 % interval, per family and condition corrected by Holm's method.  Where
neither is shown, the number of episodes that would settle it is given.

With --sequential the pairs are taken one by one, in the order of their seeds, until one policy is shown to be better:
looking after every pair is part of the test, whose error is at most alpha over all looks.  A and B are reports, or
policies (folder, hf://OWNER/NAME, `expert`, `random`), which are then played, no further than the verdict needs.
"""
EPILOG = """\
examples:
  vla-agent eval runs/base --seed 7000 --episodes 50 --controls none --out runs/eval-base
  vla-agent eval runs/tuned --seed 7000 --episodes 50 --controls none --out runs/eval-tuned
  vla-agent compare runs/eval-tuned runs/eval-base
  vla-agent compare runs/eval-tuned runs/eval-base --require-better    # in CI
  vla-agent compare runs/eval-tuned runs/eval-base --sequential --most 400      # open? add episodes, ask again
  vla-agent compare runs/tuned/policy runs/base/policy --sequential --most 200 -o runs/compare

Fix the number of episodes beforehand: adding episodes until a difference shows makes p values invalid.  With
--sequential fix --most beforehand instead, and add episodes as you like.
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
    parser.add_argument("--sequential", action="store_true", help="stop at the first pair that shows a difference")
    parser.add_argument(
        "--most", type=int, metavar="N", help="with --sequential: pairs after which it ends in any case"
    )
    played = parser.add_argument_group("with --sequential and policies instead of reports")
    played.add_argument("-o", "--out", metavar="DIR", help="keep the pairs in DIR/pairs.json")
    played.add_argument("--resume", action="store_true", help="go on with what DIR holds")
    played.add_argument("--tasks", metavar="LIST", help="families or task files, comma-separated (default: the suite)")
    played.add_argument("--seed", type=int, default=0, metavar="S", help="first seed of every task (%(default)s)")
    played.add_argument(
        "--block", type=int, default=5, metavar="K", help="seeds of every task between two looks (%(default)s)"
    )
    played.add_argument("--workers", type=int, default=1, metavar="N", help="processes (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare; 0, or 1 where A had to be better and is not shown to be."""
    if args.sequential:
        return _sequential(args)
    if args.most is not None or args.out or args.resume:
        raise OptionError("an option needs another one", key="--most, --out, --resume", expected="with --sequential",
                          found="without it", remedy="add --sequential")  # fmt: skip
    from vla_agent.evaluation.compare_reports import compare

    result = compare(Path(args.first), Path(args.second), args.alpha, args.smallest)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        _print(result)
    return 1 if args.require_better and result["verdict"] != "better" else 0


def _sequential(args: argparse.Namespace) -> int:
    """Compare pair by pair; as `run`."""
    from vla_agent.evaluation.sequential.compare_sequential import (
        SequentialSettings,
        compare_sequential,
        impossible,
        in_reports,
        read_pairs,
        sentence,
    )

    settings = SequentialSettings(args.most, args.alpha, args.smallest)
    settings.require()
    if in_reports(args.first, args.second):
        pairs, names = read_pairs(Path(args.first), Path(args.second))
        result = compare_sequential(pairs, names, args.most or len(pairs), settings)
    elif args.most is None:
        raise impossible("--most", "the largest number of pairs to play, fixed beforehand", "none")
    else:
        result = compare_sequential(_played(args), [args.first, args.second], args.most, settings)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"A  {result['first']}\nB  {result['second']}\n\n{sentence(result)}")
        if args.most is None:
            print(f"note: --most was not given, so that the test ends with these {result['most']} pairs")
    return 1 if args.require_better and result["verdict"] != "better" else 0


def _played(args: argparse.Namespace) -> Any:
    """The pairs of two policies, played as they are asked for."""
    from vla_agent.evaluation.evaluate import EvaluationSettings
    from vla_agent.evaluation.sequential.play_pairs import play_pairs

    common = {"tasks": args.tasks, "seed": args.seed, "workers": args.workers}
    both = [EvaluationSettings(policy, **common) for policy in (args.first, args.second)]
    return play_pairs(both, args.block, Path(args.out) if args.out else None, args.resume, _progress)


def _progress(played: Any, done: int, total: int) -> None:
    """One line that is written over, on a terminal."""
    import sys

    if sys.stderr.isatty():
        print(f"\r{played.job.key}: {done} of {total} so far\033[K", end="\n" * (done == total), file=sys.stderr)


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
