"""``vla-agent finetune``: adapt a policy to new demonstrations, and compare it with what it was."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

DESCRIPTION = """\
Train adapters (or all weights) of a policy on demonstrations.

POLICY is a policy folder or hf://OWNER/NAME; or a recipe, a YAML file with all settings (policies/finetune-lora.yaml).
OUT then holds adapter/ (small; names its base by SHA-256 and fits no other) and policy/ (merged; for eval and gate),
the log, the loss curve and TensorBoard's files.  With --compare N, base and tuned policy play N episodes of each family
on the same seeds, and the paired difference is reported, also where there is none.  Task files of your own are found
where the dataset was collected from them; otherwise give them with --tasks.

adapters: lora, rslora, dora, adalora, randlora, vera, boft, ia3, nola; full (all weights), head (the head alone)
"""
EPILOG = """\
examples:
  vla-agent finetune policies/tabletop-nano --data datasets/stack --adapter lora -o runs/stack
  vla-agent finetune policies/tabletop-nano --data datasets/stack -o runs/stack --compare 20
  vla-agent finetune policies/tabletop-nano --data datasets/stack -o runs/head \\
      --set adapter.vision=0 --set adapter.language=0 --set adapter.head=full --set train.samples=50000
  vla-agent finetune policies/finetune-lora.yaml -o runs/lift --set robust.wise=0.7
  vla-agent finetune policies/tabletop-nano --data datasets/lift --data datasets/tabletop --weights 1,1 -o runs/lift
      every second sample from the base's own tasks, so that it does not forget them
  vla-agent finetune policies/tabletop-nano --data datasets/mine -o runs/mine --compare 20 --tasks my_task.yaml
  accelerate launch --multi_gpu --num_processes 2 -m vla_agent finetune policies/finetune-lora.yaml -o runs/lift
  Ctrl-C stops cleanly; the same command with --resume continues.

settings: train.samples, train.batch, train.learning_rate, train.accumulate, train.precision, train.checkpointing,
adapter.vision / language / head (rank, 0 or full), robust.consistency, robust.trust_region, robust.wise,
robust.wordings, robust.augment.shift / crop / colour, data.scores (episodes by weight: vla-agent data score)
next: vla-agent eval OUT/policy; then vla-agent gate, before it moves a robot
"""


def add_parser(subparsers: Any) -> None:
    """Add ``finetune`` to the command line."""
    parser = subparsers.add_parser(
        "finetune", help="adapt a policy to new demonstrations", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("policy", metavar="POLICY|RECIPE", help="policy folder, hf://OWNER/NAME, or a recipe (.yaml)")
    parser.add_argument("--data", metavar="DIR", action="append", default=[], help="dataset; may be repeated")
    parser.add_argument("--weights", metavar="W,W", help="how often each --data is drawn (default: by its frames)")
    parser.add_argument("--adapter", metavar="METHOD", help="see above (default: lora)")
    parser.add_argument("-o", "--out", metavar="OUT", help="the training's folder (default: runs/NAME)")
    parser.add_argument("--compare", type=int, metavar="N", help="play N episodes per family afterwards (default: 0)")
    parser.add_argument(
        "--tasks", metavar="FILES", help="your own task files for --compare, separated by commas (default: the data's)"
    )
    parser.add_argument("--resume", action="store_true", help="continue the training in OUT")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting, e.g. train.samples=5000"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, write adapter and policy, and compare where asked."""
    from vla_agent.evaluation.compare_tuned import compare
    from vla_agent.finetuning.compared_families import compared_families
    from vla_agent.finetuning.tune import console, finetune
    from vla_agent.training.loop.train_stage import Interrupted
    from vla_agent.training.parallel.processes import is_main

    recipe = recipe_of(args)
    out = Path(args.out) if args.out else Path("runs") / recipe.name
    if recipe.compare.episodes:
        compared_families(recipe)  # refuses now what cannot be compared afterwards
    try:
        tuned = finetune(recipe, out, resume=args.resume)
    except Interrupted as stop:
        if is_main():
            print(f"{stop}\ncontinue with the same command and --resume")
        return 130
    if not is_main():
        return 0
    if recipe.compare.episodes:
        for line in compare(recipe, str(tuned), out / "comparison")["verdict"]:
            console.print(line, highlight=False)
        console.print(f"{out / 'comparison' / 'comparison.json'}", highlight=False)
    else:
        console.print("not compared with its base: --resume --compare 20 plays both on the same seeds", highlight=False)
    return 0


def recipe_of(args: argparse.Namespace) -> Any:
    """The recipe that the options stand for, or the given recipe file with their changes.

    Raises:
        RecipeError: a wrong key or value.
        OptionError: there is no data, or the weights are not numbers.
    """
    from vla_agent.finetuning.finetune_recipe import load_finetune, make_finetune

    weights = numbers(args.weights) if args.weights else []
    changes = list(args.set)
    changes += [] if args.compare is None else [f"compare.episodes={args.compare}"]
    changes += [f"compare.tasks={args.tasks.split(',')}"] if args.tasks else []
    if args.policy.endswith((".yaml", ".yml")):
        changes += [f"adapter.method={args.adapter}"] if args.adapter else []
        changes += [f"data.demonstrations={args.data}"] if args.data else []
        changes += [f"data.weights={weights}"] if weights else []
        return load_finetune(args.policy, tuple(changes))
    if not args.data:
        raise OptionError(
            "there is nothing to train on",
            key="--data",
            expected="a LeRobotDataset folder",
            found="none",
            remedy="record one: vla-agent collect --tasks stack --episodes 50 -o datasets/stack",
        )
    name = f"{Path(args.policy).name}-{args.adapter or 'lora'}"
    adapter = {"method": args.adapter or "lora"}
    data = {"demonstrations": args.data, "weights": weights}
    settings = {"name": name, "base": args.policy, "data": data, "adapter": adapter}
    return make_finetune(settings, tuple(changes))


def numbers(text: str) -> list[float]:
    """``3,1`` -> [3.0, 1.0].

    Raises:
        OptionError: it has another form.
    """
    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError as error:
        raise OptionError(
            "the weights cannot be read",
            key="--weights",
            expected="a number for each --data, such as 3,1",
            found=text,
            remedy="write --weights 3,1 to draw the first three times as often as the second",
        ) from error
