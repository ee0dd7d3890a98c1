"""The options ``--env`` and ``--env-option`` of commands that play in an environment."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from vla_agent.cli.key_value import read_pairs


def add_environment(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    parser.add_argument(
        "--env",
        default="tabletop",
        metavar="ENV",
        help="tabletop, metaworld, libero, pusht, FILE.py:FACTORY, MODULE:FACTORY, FILE.yaml or a name of an installed "
        "package (docs/environments.md; default: tabletop)",
    )
    parser.add_argument(
        "--env-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the environment's factory; may be repeated",
    )


def options_of(args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The pairs of ``--env-option``.

    Raises:
        OptionError: one is no pair.
    """
    remedy = "write the name of an argument of its factory, =, and the value"
    return read_pairs(args.env_option, "--env-option", "KEY=VALUE, such as size=128", remedy)


def policy_part(policy: str) -> str:
    """The policy's name as a part of a folder's name."""
    return Path(policy).name.replace(":", "-")


def short_name(env: str) -> str:
    """The environment's name as a part of a folder's name."""
    file, colon, factory = env.rpartition(":")
    name = f"{Path(file).stem}-{factory}" if colon else Path(env).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
