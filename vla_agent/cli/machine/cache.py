"""``vla-agent cache``: where decoded images are cached, how much space they take, and how to free it."""

from __future__ import annotations

import argparse

EPILOG = """\
examples:
  vla-agent cache                 # folder and size
  vla-agent cache clear           # delete the decoded images; datasets stay as they are

Each dataset is decoded once and kept uncompressed.  VLA_AGENT_CACHE names another folder.
next: vla-agent train or finetune decodes again what it needs
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "cache",
        help="decoded images on this machine",
        description="Show where decoded dataset images are cached and how much space they take, or delete them.",
        epilog=EPILOG,
    )
    parser.add_argument("action", nargs="?", choices=("show", "clear"), default="show", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    from vla_agent.data.lerobot.frame_cache import cache_size, clear_cache, default_cache

    folder = default_cache()
    if args.action == "clear":
        print(f"{folder}: {clear_cache(folder) / 1e9:.2f} GB freed")
        return 0
    print(f"{folder}: {cache_size(folder) / 1e9:.2f} GB of decoded images (`vla-agent cache clear` deletes them)")
    return 0
