"""``vla-agent profile``: the time of each section of a policy, and its distance to the machine's limits."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vla_agent.cli.judge.eval import add_speed
from vla_agent.errors import OptionError

DESCRIPTION = """\
Compute chunks and print a row for each section: once an instruction, the text; for each chunk, copying, vision,
language, the head's condition and its denoising steps.  Each row has the time, the work (floating-point operations),
the bytes that must be read (weights, inputs), and the minimal time of this machine for them, from the speed of a matrix
product and of a copy measured in the same run.  100 % is the machine's limit; bytes that stay in a cache from one chunk
to the next can exceed it.

POLICY is a folder that `vla-agent train` wrote, with any backbone, or hf://OWNER/NAME of the Hugging Face hub.
"""
EPILOG = """\
examples:
  vla-agent profile policies/tabletop-nano
  vla-agent profile policies/tabletop-nano --openvino --chunks 200
  vla-agent profile runs/mine/policy --device cuda --compile      # with CUDA graphs
  vla-agent profile policies/tabletop-nano --quantise int8

Times are medians; other work on the machine makes them longer.
next: `vla-agent serve POLICY --openvino`, `vla-agent eval POLICY --openvino`
"""


def add_parser(subparsers: Any) -> None:
    """Add ``profile`` to the command line."""
    parser = subparsers.add_parser(
        "profile", help="show the time of each section of a policy", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("policy", metavar="POLICY", help="policy folder or hf://OWNER/NAME")
    parser.add_argument("--chunks", type=int, default=50, metavar="N", help="chunks to time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch's threads (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add_speed(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    for name in ("chunks", "threads"):
        if getattr(args, name) < 1:
            raise _invalid_option(f"--{name}", "at least 1", getattr(args, name))
    import torch

    from vla_agent.policy.loading import load_policy
    from vla_agent.policy.speed.accelerate import accelerate
    from vla_agent.policy.speed.latency_profile import profile

    if args.device != "cpu" and not (args.device == "cuda" and torch.cuda.is_available()):
        raise _invalid_option("--device", "cpu, or cuda where torch finds a GPU", args.device)
    torch.set_num_threads(args.threads)
    products = args.quantise if args.openvino else ""  # weights of another dtype are counted as such
    loaded = load_policy(args.policy)
    if not hasattr(loaded, "backbone"):
        found = f"{args.policy}: {type(loaded).__name__}, without modules of torch"
        raise _invalid_option("POLICY", "a policy folder that vla-agent train wrote", found)
    policy = accelerate(loaded.to(args.device), quantise="" if products else args.quantise)
    rows, machine = profile(policy, args.chunks, args.compiled, args.openvino, products)
    _print(rows)
    where = f"{args.threads} thread{'s' * (args.threads > 1)}" if args.device == "cpu" else torch.cuda.get_device_name()
    how = (
        ", compiled" * policy.compiled
        + ", in OpenVINO" * args.openvino
        + f", {'products' if products else 'weights'} as {args.quantise}" * bool(args.quantise)
    )
    peaks = f"{machine.flops / 1e9:.1f} GFLOP/s in a matrix product, {machine.bandwidth / 1e9:.1f} GB/s in a copy"
    print(f"\n{where}{how}; this machine: {peaks}")
    return 0


def _invalid_option(key: str, expected: str, found: object) -> OptionError:
    return OptionError(
        "an option has an invalid value",
        key=key,
        expected=expected,
        found=found,
        remedy="see vla-agent profile --help",
    )


def _print(rows: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("section")
    for column in ("runs", "ms", "of a chunk", "MFLOP", "MiB in", "min ms", "of the limit"):
        table.add_column(column, justify="right")
    for row in rows:
        fraction = f"{row.fraction:.0%}" if row.fraction else "once"
        numbers = (f"{row.mflop:.1f}", f"{row.mib:.2f}", f"{row.min_ms:.2f}", f"{row.efficiency:.0%}")
        table.add_row(row.section, str(row.runs), f"{row.ms:.2f}", fraction, *(numbers if row.mib else ("",) * 4))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
