"""``vla-agent view``: a live page in the browser that shows a policy at work, in three dimensions."""

from __future__ import annotations

import argparse
import secrets
import signal
import threading
from pathlib import Path
from typing import Any

from vla_agent.cli.judge.viewed import SHIPPED, add_options, kind_of_source, source_of, write_for_rerun
from vla_agent.errors import OptionError

DESCRIPTION = """\
Open a local page that shows, live: the robot in 3-D, its cameras with what the policy sees drawn on them, the path that
it plans and the one it took, plots, and state and doubt in words.  Start, stop, step and reset it, tell it what to do,
drag objects, change their colour and shape, light and camera, and see what the policy makes of it.

WHAT is a policy's folder, as of `vla-agent train`: it acts in the simulator.  Or what is recorded: the folder of an
evaluation, a dataset, a bag; or the folder of a training that runs.  --ros shows a ROS 2 graph that runs.
"""
EPILOG = """\
examples:
  vla-agent view                                               the shipped policy in the simulator
  vla-agent view runs/mine/policy --task stack --seed 7
  vla-agent view --robot panda                                 with the robot's controller, filter and supervisor
  vla-agent view --marks marks.jsonl                           keep the verdicts that you give
  vla-agent view --ros                                         the graph of `vla-agent up`: it listens until you ask
  vla-agent view runs/eval --episode 3 --against expert        an episode of an evaluation beside the expert
  vla-agent view datasets/mine --policy runs/mine/policy       what a policy would do in a demonstration
  vla-agent view runs/mine                                     the losses of a training, while it runs
  vla-agent view runs/eval --episode 3 --rerun episode.rrd     the same for Rerun, without a page
  vla-agent view --host 0.0.0.0                                for other machines too; prints a link with a token

Keys: space starts and stops, r resets, n takes the next scene, t makes one step, y and f mark success and failure.
What passes between page and browser is not encrypted: between machines use a tunnel, as in
  ssh -L 8080:localhost:8080 OTHER
exit codes: 0 ended by Ctrl-C or SIGTERM, or written; 2 bad input

next: docs/view.md; `vla-agent eval POLICY` for numbers
"""
TOKEN_BYTES = 24


def add_parser(subparsers: Any) -> None:
    """Add ``view`` to the command line."""
    parser = subparsers.add_parser("view", help="look at a policy live", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("what", metavar="WHAT", nargs="?", help=f"(default: {SHIPPED})")
    add_options(parser)
    parser.add_argument("--rerun", type=Path, metavar="FILE", help="write a file for Rerun (.rrd) in place of a page")
    parser.add_argument("--seconds", type=float, metavar="N", help="with --rerun: how long (default: to the end)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one (default: %(default)s)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="token of the link (default: VLA_AGENT_TOKEN, or a new one)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show until Ctrl-C or SIGTERM."""
    _check(args)
    require_packages()
    kind = kind_of_source(args)
    print("loading", flush=True)
    source = source_of(kind, args)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    if args.rerun is not None:
        count = write_for_rerun(kind, source, args, end.is_set)
        print(f"{args.rerun}: {count} frames    next: rerun {args.rerun}")
        return 0
    from vla_agent.view.window import Window

    window = Window(source, args.host, args.port, _token(args))
    window.start()
    print(f"open {window.url} in a browser; Ctrl-C ends it", flush=True)
    try:
        window.draw_until(end)
    finally:
        window.stop()
    print("stopped", flush=True)
    return 0


def require_packages() -> None:
    """Check that the page's packages are installed.

    Raises:
        OptionError: one is missing; says how to install it.
    """
    try:
        import mjviser  # noqa: F401
        import viser  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "the page needs packages that are not installed",
            key=error.name,
            expected="viser and mjviser",
            found=str(error),
            remedy="pip install 'vla_agent[view]'",
        ) from error


def _check(args: argparse.Namespace) -> None:
    for name, least, most in (("port", 0, 65535), ("seed", 0, 2**31 - 1)):
        if not least <= (getattr(args, name) or 0) <= most:
            raise OptionError(
                "an option has an invalid value",
                key=f"--{name}",
                expected=f"{least} to {most}",
                found=getattr(args, name),
                remedy="see vla-agent view --help",
            )


def _token(args: argparse.Namespace) -> str | None:
    """None for a page that only this machine can reach; else one that was given, or a new one."""
    from vla_agent.serving.tokens import read_token
    from vla_agent.view.access import is_loopback

    given = read_token(args.token_file) if args.token_file or not is_loopback(args.host) else None
    return given or (None if is_loopback(args.host) else secrets.token_urlsafe(TOKEN_BYTES))
