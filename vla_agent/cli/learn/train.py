"""``vla-agent train``: train a policy from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

TEXTS = 45.0  # a second, that a reader of 22 M parameters learns from on one core
EPILOG = """\
examples:
  vla-agent train policies/tabletop-nano.yaml -o runs/nano             everything: data, stages, rounds of corrections
  vla-agent train policies/plain.yaml -o runs/mine --set 'data.demonstrations=[datasets/mine]'   any demonstrations
  vla-agent train policies/tabletop-nano.yaml --dry-run                each step with its estimated time
  vla-agent train policies/reader.yaml -o runs/reader                  a reader: instructions in any words
  vla-agent train my.yaml -o runs/short --set pretrain.samples=5000 --set train_head.samples=20000
  Ctrl-C stops cleanly; the same command with --resume continues, also after a kill.

The folder then holds policy/ (for vla-agent eval), the data, the logs, the loss curve and TensorBoard's files:
  tensorboard --logdir runs/nano

next: vla-agent eval runs/nano/policy --episodes 50; a policy for another world: vla-agent serve, or your own loop
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a policy from a recipe",
        description="Make the data that the recipe asks for, train the backbone on generated images and "
        "demonstrations, then the action head on its features, and go through the recipe's rounds. Or, with the stage "
        "end_to_end (policies/plain.yaml), train both together on any dataset that vla-agent data validate accepts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, e.g. policies/tabletop-nano.yaml")
    parser.add_argument("-o", "--out", metavar="DIR", help="the training's folder (default runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue the training in DIR")
    parser.add_argument("--dry-run", action="store_true", help="print the steps and their estimated time, and end")
    text = "processes that make data (default: %(default)s); training uses all threads of torch"
    parser.add_argument("--workers", type=int, default=2, metavar="W", help=text)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting, e.g. seed=1"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vla_agent.training.loop.train_stage import Interrupted
    from vla_agent.training.reading.reader_recipe import is_reader_recipe
    from vla_agent.training.recipe import load_recipe
    from vla_agent.training.train import train

    if args.workers < 1:
        raise OptionError(
            "an option is too small",
            key="--workers",
            expected="1 or more",
            found=args.workers,
            remedy="raise --workers",
        )
    if is_reader_recipe(args.recipe):
        return _train_reader(args)
    recipe = load_recipe(args.recipe, tuple(args.set))
    out = Path(args.out) if args.out else Path("runs") / recipe.name
    if args.dry_run:
        _print_plan(recipe, out)
        return 0
    try:
        train(recipe, out, resume=args.resume, workers=args.workers)
    except Interrupted as stop:
        print(f"{stop}\ncontinue with: vla-agent train {args.recipe} -o {out} --resume")
        return 130
    return 0


def _train_reader(args: argparse.Namespace) -> int:
    """Train a reader from its own kind of recipe."""
    from vla_agent.training.loop.train_stage import Interrupted
    from vla_agent.training.reading.reader_recipe import load_reader_recipe
    from vla_agent.training.reading.train_reader import train_reader

    recipe = load_reader_recipe(args.recipe, tuple(args.set))
    out = Path(args.out) if args.out else Path("runs") / recipe.name
    if args.dry_run:
        minutes = recipe.reader.samples / TEXTS / 60
        print(f"reader: {recipe.reader.samples:,} texts, about {minutes:.0f} minutes on one core, in {out}")
        return 0
    try:
        train_reader(recipe, out, resume=args.resume)
    except Interrupted as stop:
        print(f"{stop}\ncontinue with: vla-agent train {args.recipe} -o {out} --resume")
        return 130
    return 0


def _print_plan(recipe: Any, out: Path) -> None:
    """The steps of a training with their estimated time on two quiet cores."""
    from rich.console import Console
    from rich.table import Table

    from vla_agent.training.training_plan import steps_of

    table = Table(box=None, pad_edge=False)
    for column in ("run", "step", "amount", "", "minutes"):
        table.add_column(column, justify="right" if column in ("run", "amount", "minutes") else "left")
    steps = steps_of(recipe, out)
    for step in steps:
        minutes = "done" if step.done else f"{step.seconds / 60:.1f}"
        table.add_row(str(step.run), step.what, f"{step.amount:,}", step.unit, minutes)
    console = Console()
    console.print(table)
    left = sum(step.seconds for step in steps if not step.done)
    console.print(f"about {left / 3600:.1f} hours on two quiet cores, in {out}")
