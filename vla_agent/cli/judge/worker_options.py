"""The options ``--workers`` and ``--ray`` of commands that play episodes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from vla_agent.cli.environment_options import options_of
from vla_agent.errors import OptionError


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    parser.add_argument(
        "--workers",
        type=int,
        metavar="W",
        help=f"processes (default: all cores, here {cores()}; with --ray: all of the cluster)",
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="play on a Ray cluster: HOST:PORT, or `auto` for the one of this machine"
    )


def workers_of(args: argparse.Namespace) -> int | None:
    """The number of processes; None: all that the Ray cluster has.

    Raises:
        OptionError: fewer than one.
    """
    if args.workers is None:
        return None if args.ray else cores()
    if args.workers < 1:
        raise OptionError(
            "an option has an impossible value",
            key="--workers",
            expected="at least 1",
            found=args.workers,
            remedy="leave it out for all cores",
        )
    return int(args.workers)


def run_options(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Those of `vla_agent.evaluation.evaluate.EvaluationSettings` that say where and with what episodes are played."""
    placed = {"workers": workers_of(args), "ray": args.ray, "out": out, "resume": args.resume}
    return placed | {"env": args.env, "env_options": options_of(args)}
