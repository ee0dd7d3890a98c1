"""``vla-agent replay``: reproduce one episode of a report bit for bit and write its video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from vla_agent.cli.output_name import require_suffix
from vla_agent.errors import OptionError

DESCRIPTION = """\
Simulate one episode of a report again from its seed and its recorded actions, compare the final state and every image
that the policy received with the recorded ones, bit for bit, and write a video: the front camera, the wrist camera in a
corner, and the instruction.

An episode of another environment (--env) is played in that environment again, and shows its own cameras.

REPORT is the report.json of `vla-agent eval`; actions.npz must be in the same folder.
"""
EPILOG = """\
example:
  vla-agent eval expert --episodes 1 --out runs/first
  vla-agent replay runs/first/report.json --episode 0 -o video.mp4

Episodes are counted from 0 in the order of report.json; report.html names the number of each failed one.
next: watch the failures of one failure mode; report.html groups them.
exit codes: 0 reproduced, 1 played, with other bits (another version or machine: it is named), 2 bad input
"""


def add_parser(subparsers: Any) -> None:
    """Add ``replay`` to the command line."""
    parser = subparsers.add_parser(
        "replay", help="reproduce one episode of a report", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("report", metavar="REPORT", type=Path, help="report.json of an evaluation")
    parser.add_argument("--episode", type=int, required=True, metavar="K", help="number of the episode, from 0")
    parser.add_argument(
        "-o", "--out", "--output", type=Path, metavar="FILE", help="video to write (.mp4); without it: only check"
    )
    parser.add_argument(
        "--env",
        metavar="ENV",
        help="the report's environment, where it is your own code: a report runs none by itself",
    )
    parser.add_argument("--size", type=int, default=384, metavar="PX", help="size of the image (default: 384)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay; 0 where every bit is the same, else 1."""
    require_suffix(args.out, ".mp4", "-o")
    if args.size % 2 or not 64 <= args.size <= 1024:
        raise OptionError(
            "the video cannot have this size",
            key="--size",
            expected="an even number from 64 to 1024",
            found=args.size,
            remedy="--size 384",
        )
    from vla_agent.evaluation.replay_episode import replay

    replayed = replay(args.report, args.episode, args.size, args.out, args.env)
    row, result = replayed.row, replayed.result
    outcome = "success" if result.success else f"failure ({row['failure']})"
    print(f'episode {args.episode}: {row["task"]}, seed {row["seed"]}, {row["control"]}: "{row["instruction"]}"')
    print(f"{outcome} after {result.steps} steps ({result.steps / replayed.control_hz:.1f} s)")
    if args.out is not None:
        print(args.out)
    if replayed.exact:
        print("reproduced bit for bit: same final state, same images, same outcome")
        return 0
    same = {"state": replayed.same_state, "images": replayed.same_images, "outcome": result.success == row["success"]}
    text = ", ".join(f"{k} {'same' if v else 'different'}" for k, v in same.items())
    print(f"NOT reproduced: {text}", file=sys.stderr)
    for line in replayed.differences or ["no version or hash differs: the graphics driver or the processor may"]:
        print(f"  {line}", file=sys.stderr)
    return 1
