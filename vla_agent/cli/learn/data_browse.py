"""``vla-agent data browse``: one local page that plays the episodes of a dataset, an evaluation or a recording."""

from __future__ import annotations

import argparse
import sys
import tempfile
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from vla_agent.errors import OptionError

if TYPE_CHECKING:
    from vla_agent.data.browse.shown import Shown

REPORT, INFO = "report.json", "meta/info.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``browse``."""
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="browse: images per episode and camera, 2 to 300 (default: 60); score: frames per episode (default: 16)",
    )
    parser.add_argument("--open", action="store_true", help="browse: open the page in the browser")


def run(args: argparse.Namespace) -> int:
    """Write the page and print where it is and how large."""
    from vla_agent.cli.learn.data import parse_ranges
    from vla_agent.data.browse.page_folder import require_own, write_page
    from vla_agent.data.browse.shown import FRAMES, MOST_FRAMES
    from vla_agent.data.lerobot.dataset_writer import refuse_inside

    frames = FRAMES if args.frames is None else args.frames
    if not 2 <= frames <= MOST_FRAMES:
        raise OptionError(
            "an episode cannot be shown with so many images",
            key="--frames",
            expected=f"2 to {MOST_FRAMES}",
            found=frames,
            remedy=f"--frames {FRAMES}",
        )
    wanted = parse_ranges(args.episodes) if args.episodes else None
    source = Path(args.directory)
    out = Path(args.out or f"{source.resolve().name.removesuffix('.json')}-browse")
    require_own(out)
    if (source / INFO).exists():
        refuse_inside(out, source)
    with ExitStack() as stack:
        shown = _source(args, source, wanted, frames, stack)
        counts = write_page(shown, out, _progress)
    for fact in shown.facts:
        print(fact)
    print(f"{counts['episodes']} episodes, {counts['images']:,} images, {counts['bytes'] / 1e6:.1f} MB")
    print(out / "index.html")
    if args.open and not webbrowser.open((out / "index.html").resolve().as_uri()):
        print("no browser could be started: open the file above yourself", file=sys.stderr)
    if shown.dataset:
        print('next: flag episodes, "Save flags", and vla-agent data edit DIR --drop findings.json -o NEW')
    return 0


def _source(args: argparse.Namespace, source: Path, wanted: list[int] | None, frames: int, stack: ExitStack) -> Shown:
    """What is shown; ``stack`` closes what it needs while the page is written.

    Raises:
        OptionError: it is neither a dataset nor a report, and there is no mapping.
    """
    from vla_agent.data.browse.dataset_source import show_dataset, show_recordings

    if args.mapping:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vla-agent-browse-")))
        return show_recordings(source, args.mapping, scratch, frames, wanted)
    if source.name == REPORT or (source / REPORT).is_file():
        from vla_agent.evaluation.browse_report import show_report

        return stack.enter_context(show_report(source if source.name == REPORT else source / REPORT, wanted, frames))
    if (source / INFO).exists() or not source.exists():
        return show_dataset(source, wanted, frames, _progress)
    raise OptionError(
        "this is neither a dataset nor an evaluation",
        file=source,
        key="DIR",
        expected=f"a folder with {INFO} (dataset) or {REPORT} (vla-agent eval), or a recording with --mapping",
        found="a file" if source.is_file() else "a folder without them",
        remedy="a bag or an HDF5 file needs --mapping FILE: which topics are the cameras, states and actions; "
        "begin with config/data/recorder.yaml (docs/data.md)",
    )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} episodes", end="\n" if done == total else "", file=sys.stderr, flush=True)
