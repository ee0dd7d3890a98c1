"""``python -m vla_agent.leaderboard RESULT``: check a result file, and play a sample of it again."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_agent.errors import VlaAgentError

DESCRIPTION = """\
Check a result file: its suite is this release's, byte for byte, it holds each episode once, and its scores follow from
them.  With --policy, random episodes are played again, and each difference is named.

exit codes: 0 it holds, 1 an episode came out otherwise, 2 the file is refused
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Check; 0, 1 or 2."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_agent.leaderboard",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("result", type=Path, metavar="RESULT", help="result.json")
    parser.add_argument("--policy", help="the policy of the result: folder, hf://OWNER/NAME, ws://HOST:PORT, its name")
    parser.add_argument("--sample", type=int, default=10, metavar="N", help="episodes to play again (%(default)s)")
    parser.add_argument("--seed", type=int, metavar="S", help="of their choice (default: another each time, printed)")
    args = parser.parse_args(argv)
    try:
        return _check(args)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _check(args: argparse.Namespace) -> int:
    from vla_agent.leaderboard.recheck import differences
    from vla_agent.leaderboard.result_file import read_result
    from vla_agent.leaderboard.result_page import summary

    result = read_result(args.result)
    print(summary(result))
    if args.policy is None:
        return 0
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    found = list(differences(result, args.policy, args.sample, seed))
    for difference in found:
        print(f"differs: {difference}")
    print(f"{args.sample} episodes played again (--seed {seed}): {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
