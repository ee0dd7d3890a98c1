"""``vla-agent data score``: the loss of every episode under a policy, as weights for a training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError, printable

LISTED = 10  # episodes of the highest losses


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``score`` that no other action has."""
    parser.add_argument("--policy", metavar="POLICY", help="score: a policy that was trained on such tasks")
    parser.add_argument(
        "--keep-lowest",
        type=float,
        metavar="FRACTION",
        help="score: weight 1 for this fraction of lowest losses, 0 for the rest (default: by a mixture of two groups)",
    )
    parser.add_argument("--draws", type=int, default=8, metavar="N", help="score: noise draws per frame (default: 8)")
    parser.add_argument(
        "--others",
        type=int,
        default=8,
        metavar="N",
        help="score: instructions of other episodes that each one is scored with, too, to find wrong ones (default: 8)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="score: of the noise (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Score, write the file, and print what it says."""
    out = _checked_out(args)
    from vla_agent.data.lerobot.dataset_writer import refuse_inside

    refuse_inside(out, Path(args.directory))
    from vla_agent.training.scores.score import ScoreSettings, score_dataset

    frames = 16 if args.frames is None else args.frames
    settings = ScoreSettings(frames, args.draws, args.seed, args.others, args.keep_lowest)
    scores = score_dataset(args.directory, args.policy, out, settings)
    episodes, mixture = scores["episodes"], scores["mixture"]
    for entry in sorted(episodes, key=lambda e: -e["loss"])[:LISTED]:
        loss, weight = f"loss {entry['loss']:.4f}", f"weight {entry['weight']:.2f}"
        print(f"episode {entry['episode']}: {loss}, {weight}: {printable(entry['task'])}")
    if args.keep_lowest is not None:
        print(f"the lowest {args.keep_lowest:.0%} of the losses have weight 1, the others 0")
    elif mixture and mixture["two"]:
        print(f"two groups: {mixture['shares'][1]:.0%} of the episodes have the higher losses, and low weights")
    else:
        print("no two groups of losses: every weight is 1")
    print(_instruction_sentence(scores))
    spread = scores["diversity"]
    print(f"diversity of the features: {spread['all']:.3f} of all episodes, {spread['weighted']:.3f} by weight")
    print(f"{out}: {len(episodes)} episodes, sum of weights {sum(e['weight'] for e in episodes):.1f}")
    if out.suffix.lower() == ".json":
        print(f"next: vla-agent finetune POLICY --data {args.directory} --set 'data.scores=[\"{out}\"]' -o runs/mine")
    return 0


def _instruction_sentence(scores: dict[str, Any]) -> str:
    """Which episodes other instructions fit as well as their own."""
    if not scores["contrasts"]:
        return "instructions: too few episodes or other instructions to tell wrong ones"
    doubtful = [entry["episode"] for entry in scores["episodes"] if entry["instruction_weight"] < 0.5]
    if not doubtful:
        return "instructions: each fits its episode better than others do"
    shown = ", ".join(map(str, doubtful[:LISTED])) + (", ..." if len(doubtful) > LISTED else "")
    return f"instructions: others fit {len(doubtful)} of the episodes as well as their own: {shown}"


def _checked_out(args: argparse.Namespace) -> Path:
    """The output's path.

    Raises:
        OptionError: it or the policy is missing, or it has another ending.
    """
    for key, value, expected in (("--policy", args.policy, "a policy's folder"), ("-o", args.out, "scores.json")):
        if not value:
            raise OptionError(
                "a scoring needs a policy and an output",
                key=key,
                expected=expected,
                found="none",
                remedy="vla-agent data score datasets/mine --policy policies/tabletop-nano -o scores.json",
            )
    out = Path(args.out)
    if out.suffix.lower() not in (".json", ".parquet"):
        raise OptionError(
            "the file cannot have this format",
            key="-o",
            expected="a name that ends in .json (which trainings take) or .parquet (a table)",
            found=out,
            remedy=f"-o {out.with_suffix('.json') if out.name else 'scores.json'}",
        )
    return out
