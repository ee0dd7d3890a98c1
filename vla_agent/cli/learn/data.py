"""``vla-agent data``: inspect, validate, view, browse and edit a dataset of demonstrations, or convert recordings."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_agent.cli.learn import data_browse, data_edit, data_score
from vla_agent.errors import DatasetError, OptionError, printable
from vla_agent.files.write_aside import write_text

if TYPE_CHECKING:
    from vla_agent.data.lerobot.dataset_reader import Dataset
    from vla_agent.data.validate.findings import Finding

DESCRIPTION = """\
Check a LeRobotDataset folder (v3.0 or v2.1) before a policy is trained on it, or convert other recordings to one.

inspect    episodes, frames, cameras, features, instructions
validate   all defects: missing frames, drifting timestamps, NaN, constant or clipped actions, swapped cameras, blank
           or frozen images, empty instructions, stale statistics; each with episode, frame and remedy
stats      minimum, mean, maximum and quantiles of states and actions, computed from the values themselves
view       a page with images and action plots of each episode, and its findings
browse     a page that plays the episodes of a dataset, an evaluation or a bag: images, states and actions in step;
           sorts by length, jerk, success and findings; flags episodes for `data edit --drop`
edit       a new dataset with episodes left out, trimmed, merged or split, with other instructions or at a lower rate;
           the original stays as it is
score      the loss of each episode under a policy, with the same noise for all, and a weight for each, by which
           `finetune` and `train` draw (data.scores): wrong actions and instructions come less often
convert    ROS 2 bags (MCAP, SQLite), HDF5 files (robomimic, LIBERO) or LeRobotDatasets of other programs to a dataset
           for training, by one mapping file; reports what was left out
"""
EPILOG = """\
examples:
  vla-agent data inspect datasets/mine
  vla-agent data validate datasets/mine                  # exit code 1 if there are errors
  vla-agent data validate datasets/mine --json findings.json --no-pictures
  vla-agent data stats datasets/mine
  vla-agent data view datasets/mine -o mine.html --episodes 0-9,42
  vla-agent data browse datasets/mine --open             # play, sort, flag; "Save flags" writes findings.json
  vla-agent data browse runs/eval -o runs/eval-browse --episodes 0-19
  vla-agent data browse recordings --mapping config/data/recorder.yaml
  vla-agent data edit datasets/mine --drop findings.json -o datasets/mine-edited
  vla-agent data edit datasets/mine --leave-out 3,7-9 --trim 4:10-85 -o datasets/mine-edited
  vla-agent data edit datasets/mine --merge datasets/more -o datasets/all
  vla-agent data edit datasets/mine --split train=0-39 --split test=40-49 -o datasets/mine-split
  vla-agent data edit datasets/mine --rename "lift cup=lift the cup" --instruction "3=open the drawer" -o datasets/new
  vla-agent data edit datasets/mine --fps 10 -o datasets/mine-10hz
  vla-agent data score datasets/mine --policy policies/tabletop-nano -o scores.json
  vla-agent finetune policies/tabletop-nano --data datasets/mine --set 'data.scores=["scores.json"]' -o runs/mine
  vla-agent data score datasets/mine --policy runs/mine/policy --keep-lowest 0.7 -o scores.json
  vla-agent data convert recordings --mapping config/data/recorder.yaml -o datasets/mine
  vla-agent data convert libero_spatial --mapping config/data/libero.yaml -o datasets/libero
  vla-agent data convert my_so101 --mapping config/data/lerobot_so101.yaml -o datasets/so101

next: vla-agent finetune POLICY --data datasets/mine -o runs/mine
exit codes: 0 no errors (warnings do not count), all was taken; 1 errors found, or convert left out what its mapping
does not leave out; 2 not a dataset, or invalid input
"""
ACTIONS = ("inspect", "validate", "stats", "view", "browse", "edit", "score", "convert")
OPTIONS = {  # option -> the actions that have it
    "out": ("view", "browse", "edit", "score", "convert"),
    "mapping": ("convert", "browse"),
    "episodes": ("view", "browse"),
    "frames": ("browse", "score"),
    "open": ("browse",),
    "json": ("validate",),
    "no_pictures": ("validate", "view"),
    **dict.fromkeys(("leave_out", "drop", "keep", "trim", "merge", "split"), ("edit",)),
    **dict.fromkeys(("rename", "instruction", "fps"), ("edit",)),
    **dict.fromkeys(("policy", "keep_lowest", "draws", "seed"), ("score",)),
}
RUNNERS = {"edit": data_edit.run, "browse": data_browse.run, "score": data_score.run}
LONGEST = 1_000_000  # episodes in one range
PRINTED = 40  # findings that are printed; --json writes all


def add_parser(subparsers: Any) -> None:
    """Add ``data`` to the command line."""
    parser = subparsers.add_parser(
        "data", help="inspect, validate, edit or convert a dataset", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("action", metavar="ACTION", choices=ACTIONS, help="see above")
    parser.add_argument(
        "directory",
        metavar="DIR",
        help="a LeRobotDataset folder; browse: also the folder of an evaluation, or with --mapping what convert takes; "
        "convert: a bag, an HDF5 file, a LeRobotDataset, or a folder of them",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="view: the page (default: NAME.html); browse: the page's folder (default: NAME-browse); "
        "edit, convert: the new folder; score: scores.json or .parquet",
    )
    parser.add_argument(
        "--mapping", metavar="FILE", help="convert, browse: the mapping file, such as config/data/recorder.yaml"
    )
    parser.add_argument(
        "--episodes", metavar="LIST", help="view, browse: such as 0-9,42 (default: view 0-19, browse all, 200 at most)"
    )
    parser.add_argument("--json", metavar="FILE", help="validate: write all findings there")
    parser.add_argument(
        "--no-pictures", action="store_true", help="validate, view: check the tables only, not the images"
    )
    data_browse.add_options(parser)
    data_edit.add_options(parser)
    data_score.add_options(parser)
    parser.set_defaults(run=run, defaults={action.dest: action.default for action in parser._actions})


def run(args: argparse.Namespace) -> int:
    """Run the action; 1 where `validate` finds errors, or `convert` leaves something out."""
    _refuse_needless(args)
    if args.action == "convert":
        return _convert(args)
    if args.action in RUNNERS:
        return RUNNERS[args.action](args)
    from vla_agent.data.lerobot.dataset_reader import read
    from vla_agent.data.lerobot.dataset_writer import refuse_inside
    from vla_agent.data.validate.validate import validate

    if args.action == "validate":
        if args.json:
            refuse_inside(Path(args.json), Path(args.directory), "--json")
        return _validate(args, validate(args.directory, images=not args.no_pictures, progress=_progress))
    dataset = read(args.directory)
    if args.action == "inspect":
        _inspect(dataset)
    elif args.action == "stats":
        _stats(dataset)
    else:
        from vla_agent.data.validate.dataset_page import write_page

        out = Path(args.out or f"{dataset.root.resolve().name}.html")
        refuse_inside(out, dataset.root)
        findings = validate(args.directory, images=not args.no_pictures, progress=_progress)
        write_page(dataset, findings, parse_ranges(args.episodes or "0-19"), out)
        print(out)
    return 0


def _refuse_needless(args: argparse.Namespace) -> None:
    """Raise where an option is given that the action does not have: it would have no effect.

    Raises:
        OptionError: names all of them.
    """
    given = [name for name, value in args.defaults.items() if name in OPTIONS and getattr(args, name) != value]
    needless = [name for name in given if args.action not in OPTIONS[name]]
    if needless:
        known = [name for name, actions in OPTIONS.items() if args.action in actions]
        raise OptionError(
            f"data {args.action} does not have these options",
            key=", ".join(map(_flag, needless)),
            expected=", ".join(map(_flag, known)) or "no options",
            found="; ".join(f"{_flag(name)} is for {', '.join(OPTIONS[name])}" for name in needless),
            remedy="leave them out, or run that action",
        )


def _flag(name: str) -> str:
    return "-o" if name == "out" else "--" + name.replace("_", "-")


def parse_ranges(text: str, option: str = "--episodes") -> list[int]:
    """``0-2,5`` -> [0, 1, 2, 5].

    Raises:
        OptionError: the text has another form.
    """
    found: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        numbers = first.isdecimal() and (last.isdecimal() or not dash)
        if not numbers or not 0 <= int(last or first) - int(first) < LONGEST:
            raise OptionError(
                "the list of episodes is not valid",
                key=option,
                expected="numbers and ranges, such as 0-9,42",
                found=text,
                remedy="write 0-9 for the first ten",
            )
        found += range(int(first), int(last or first) + 1)
    return found


def as_ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> ``0-2,5``: the inverse of `parse_ranges`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def _convert(args: argparse.Namespace) -> int:
    """Convert recordings and print a line for each episode."""
    for option, value, example in (
        ("--mapping", args.mapping, "config/data/recorder.yaml"),
        ("-o", args.out, "datasets/mine"),
    ):
        if not value:
            raise OptionError(
                "a conversion needs a mapping file and an output folder",
                key=option,
                expected=f"such as {option} {example}",
                found="none",
                remedy="vla-agent data convert recordings --mapping config/data/recorder.yaml -o datasets/mine",
            )
    from vla_agent.data.convert.conversion_report import episode_lines, is_complete, summary_lines
    from vla_agent.data.convert.convert import convert

    def print_episode(episode: dict[str, Any]) -> None:
        print(*episode_lines(episode), sep="\n", flush=True)

    report = convert(args.directory, args.mapping, args.out, print_episode)
    print(*summary_lines(report, args.out), sep="\n")
    return 0 if is_complete(report) else 1


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} episodes checked", end=end, file=sys.stderr, flush=True)


def _validate(args: argparse.Namespace, findings: list[Finding]) -> int:
    """Print the findings; 1 where one is an error."""
    from vla_agent.data.lerobot.dataset_schema import CONTRACT

    if args.json:
        of = _dataset_of(args.directory)
        write_text(Path(args.json), json.dumps([f.to_dict() | of for f in findings], indent=2) + "\n")
    for finding in findings[:PRINTED]:
        print(finding.text())
    errors = sum(f.error for f in findings)
    if len(findings) > PRINTED:
        print(f"... and {len(findings) - PRINTED} more; --json FILE writes all")
    print(f"{args.directory}: {errors} errors, {len(findings) - errors} warnings")
    damaged = sorted({f.episode for f in findings if f.error and f.episode is not None})
    if damaged and (Path(args.directory) / CONTRACT).exists():  # without a contract `data edit` refuses the dataset
        print(f"next: vla-agent data edit {args.directory} --leave-out {as_ranges(damaged)} -o NEW")
    return 1 if errors else 0


def _dataset_of(directory: str) -> dict[str, Any]:
    """What a finding says of its dataset, so that it is not taken for another's; nothing where it cannot be read."""
    from vla_agent.data.lerobot.dataset_reader import read

    try:
        dataset = read(directory)
    except DatasetError:
        return {}
    return {"dataset": {"name": dataset.root.resolve().name, **dataset.counts}}


def _inspect(dataset: Dataset) -> None:
    from collections import Counter

    lengths = [e.length for e in dataset.episodes]
    total = sum(lengths)
    print(f"{dataset.root}    LeRobotDataset {dataset.info['codebase_version']}")
    print(
        f"{len(lengths)} episodes, {total:,} frames at {dataset.fps:g} Hz ({total / dataset.fps / 60:.1f} minutes), "
        f"{min(lengths, default=0)} to {max(lengths, default=0)} frames each"
    )
    print("\nfeatures")
    for name, feature in dataset.info["features"].items():
        print(f"  {name:<30}{feature['dtype']:<9}{list(feature['shape'])}")
    tasks = Counter(e.task for e in dataset.episodes)
    print(f"\n{len(tasks)} instructions")
    for text, count in tasks.most_common(20):
        print(f"  {count:>5}  {printable(text)}")


def _stats(dataset: Dataset) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from vla_agent.data.lerobot import dataset_schema
    from vla_agent.data.lerobot.dataset_stats import vector_stats
    from vla_agent.data.validate.check_values import names_of

    console = Console(width=None if sys.stdout.isatty() else 120)
    for key in (dataset_schema.STATE, dataset_schema.ACTION):
        if key not in dataset.columns:
            continue
        values = dataset.columns[key].reshape(len(dataset.columns[key]), -1)
        finite = np.isfinite(values).all(axis=1)
        stats = vector_stats(values[finite])
        columns = ("min", "q01", "mean", "std", "q99", "max")
        table = Table(key, *columns, box=None, pad_edge=False)
        for d, name in enumerate(names_of(dataset, key)):
            table.add_row(name, *(f"{stats[c][d]:.4g}" for c in columns))
        console.print(table)
        if not finite.all():
            console.print(f"{(~finite).sum()} frames with NaN or infinity left out: vla-agent data validate names them")
