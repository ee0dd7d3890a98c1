"""``vla-agent train``: train a policy from a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
example:
  vla-agent train policies/tabletop-nano.yaml -o runs/nano
  vla-agent train policies/tabletop-nano.yaml -o runs/short --set pretrain.samples=5000 --set train_head.samples=20000
  Ctrl-C stops cleanly; the same command with --resume continues.

The folder then holds policy/ (for vla-agent eval), the logs, the loss curve and TensorBoard's files:
  tensorboard --logdir runs/nano/tensorboard

next: vla-agent eval runs/nano/policy --episodes 50
"""


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a policy from a recipe",
        description="Train the backbone on generated images and demonstrations, then the action head on its features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, e.g. policies/tabletop-nano.yaml")
    parser.add_argument("-o", "--out", metavar="DIR", help="the training's folder (default runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue the training in DIR")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting, e.g. seed=1"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from vla_agent.training.loop.train_stage import Interrupted
    from vla_agent.training.recipe import load_recipe
    from vla_agent.training.train import train

    recipe = load_recipe(args.recipe, tuple(args.set))
    out = Path(args.out) if args.out else Path("runs") / recipe.name
    try:
        train(recipe, out, resume=args.resume)
    except Interrupted as stop:
        print(f"{stop}\ncontinue with: vla-agent train {args.recipe} -o {out} --resume")
        return 130
    return 0
