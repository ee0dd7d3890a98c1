"""``vla-agent collect``: demonstrations of the scripted experts as a LeRobotDataset v3.0."""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from vla_agent.cli.environment_options import add_environment, options_of
from vla_agent.errors import OptionError
from vla_agent.policy.execution_settings import Execution

EPILOG = """\
examples:
  vla-agent collect --suite tabletop --episodes 50 -o datasets/try          five episodes of each of the ten tasks
  vla-agent collect --tasks push_to_zone --episodes 200 --workers 2 -o datasets/push
  vla-agent collect --episodes 500 --takeover runs/mine -o datasets/corrections
  vla-agent collect --episodes 500 --takeover runs/mine --takeover-execution open_loop,realtime
                    --takeover-delays-ms 0,50,200 -o datasets/corrections    from the states that a slow policy reaches
  vla-agent collect --suite new --tasks lift --episodes 50 -o datasets/lift    a family that is not in the training data
  vla-agent collect --env metaworld --tasks easy --episodes 280 -o datasets/mt28    another environment's own experts
  vla-agent collect --episodes 400 --vary lighting,background,camera -o datasets/varied    other lighting, tables, views

The experts see the simulator's state.  Disturbances are injected now and then, so that the data holds recoveries; the
recorded action is always the expert's, never the disturbance.  Episode k of a task uses seed S + k.  An episode in
which the expert fails is left out and counted in meta/collection.json.

Ctrl-C keeps finished episodes in DIR.parts; the same command with --resume continues and gives the same dataset, bit
for bit, as an uninterrupted run, with any number of workers.  lerobot 0.4 (LeRobotDataset) opens the folder as it is.

Images are stored as PNG in the parquet files (--images, the default: exact, fastest to read) or as H.264 4:2:0
(--video: a fifth of the size and plays everywhere, but blurs the colour of small objects; numbers in docs/data.md).

next: name DIR under data.demonstrations in a recipe, then vla-agent train RECIPE
"""


def add_parser(subparsers) -> None:  # noqa: ANN001 - argparse has no public name for it
    """Add the command's options."""
    parser = subparsers.add_parser(
        "collect",
        help="record demonstrations of the scripted experts as a LeRobotDataset v3.0",
        description="Record demonstrations of the scripted experts as a LeRobotDataset v3.0 folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_collection_options(parser)
    _add_storage_options(parser)
    _add_takeover_options(parser)
    _add_variation_options(parser)
    parser.set_defaults(run=run, storage="images")


def _add_collection_options(parser: argparse.ArgumentParser) -> None:
    """Tasks, number of episodes, seed, processes, output."""
    add = parser.add_argument
    add_environment(parser)
    add("--suite", default="tabletop", help="suite of the tasks (default: %(default)s)")
    add("--tasks", default="", metavar="A,B", help="only these tasks, or task files (default: all of the suite)")
    text = "successful episodes in total, spread evenly over the tasks"
    add("--episodes", type=int, required=True, metavar="N", help=text)
    add("--seed", type=int, default=1_000_000, metavar="S", help="first seed of each task (default: %(default)s)")
    text = "worker processes, at most one per core (default: %(default)s)"
    add("--workers", type=int, default=1, metavar="W", help=text)
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="the folder to write; it must not exist")
    add("--resume", action="store_true", help="continue the unfinished collection in DIR.parts")
    text = "strength of the injected disturbances, 0 for none (default: %(default)s)"
    add("--noise", type=float, default=1.0, help=text)


def _add_storage_options(parser: argparse.ArgumentParser) -> None:
    """Image size and encoding."""
    text = "height and width of the images (default: %(default)s)"
    parser.add_argument("--image-size", type=int, default=96, metavar="PX", help=text)
    storage = parser.add_mutually_exclusive_group()
    for option, text in (("images", "store PNG in parquet (default)"), ("video", "store H.264 4:2:0 video, lossy")):
        storage.add_argument(f"--{option}", dest="storage", action="store_const", const=option, help=text)


def _add_takeover_options(parser: argparse.ArgumentParser) -> None:
    """The policy that acts before the expert takes over."""
    add = parser.add_argument
    text = "a policy's folder: it acts for 10 to 150 steps, then the expert takes over and is recorded (HG-DAgger)"
    add("--takeover", metavar="POLICY", help=text)
    text = "its execution modes, one drawn for each episode (docs/execution.md; default: %(default)s)"
    add("--takeover-execution", default="open_loop", metavar="A,B", help=text)
    text = "its inference latencies in simulation, one drawn for each episode (default: %(default)s)"
    add("--takeover-delays-ms", default="0", metavar="A,B", help=text)


def _add_variation_options(parser: argparse.ArgumentParser) -> None:
    """Split, and domain randomisation."""
    text = (
        "seen, wordings or objects (docs/tasks.md); a policy trained on `objects` has seen the held-out pairs of "
        "colour and shape (default: %(default)s)"
    )
    parser.add_argument("--split", default="seen", help=text)
    text = (
        "domain randomisation, for a policy that is robust to other lighting or tables: some of lighting, camera, "
        "background, object_look, sensor, each at severity 1 to 3 in half of the episodes"
    )
    parser.add_argument("--vary", default="", metavar="A,B", help=text)


def run(args: argparse.Namespace) -> int:
    """Collect, show progress, and print a summary.

    Raises:
        VlaAgentError: bad options, an existing folder, unknown tasks, a full disk, a simulator that cannot start.
    """
    _check_options(args)
    from vla_agent.data.collect.collection import Recipe, collect
    from vla_agent.data.collect.finished_collection import is_finished, require_same_collection

    recipe = Recipe(
        suite=args.suite,
        tasks=_split_list(args.tasks),
        seed=args.seed,
        noise=args.noise,
        image_size=args.image_size,
        storage=args.storage,
        takeover=args.takeover,
        takeover_execution=_split_list(args.takeover_execution),
        takeover_delays_ms=_parse_delays(args.takeover_delays_ms),
        vary=_split_list(args.vary),
        split=args.split,
        env=args.env,
        env_options=options_of(args),
    )
    if args.resume and is_finished(args.out):
        require_same_collection(args.out, recipe, args.episodes)
        print(f"{args.out} is complete: {args.episodes} episodes")
        return 0
    console = Console()
    display = _ProgressDisplay(console)
    with display:
        plan = collect(recipe, args.out, args.episodes, args.workers, args.resume, display.update)
    console.print(_table(plan))
    if not plan.complete:
        done = sum(outcome == "recorded" for outcome in plan.outcomes.values())
        console.print(f"stopped: {done} of {args.episodes} episodes kept in {args.out}.parts; continue with --resume")
        return 130
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    console.print(f"wrote {args.out}: {args.episodes} episodes, {size / 1e6:.1f} MB; {display.rates()}")
    return 0


def _split_list(text: str) -> tuple[str, ...]:
    """``a, b`` -> ("a", "b")."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _parse_delays(text: str) -> tuple[float, ...]:
    """Milliseconds from the option's text.

    Raises:
        OptionError: not numbers.
    """
    try:
        return tuple(float(word) for word in _split_list(text))
    except ValueError as error:
        raise OptionError(
            "a delay is not a number",
            key="--takeover-delays-ms",
            expected="milliseconds separated by commas, such as 0,50,200",
            found=text,
            remedy="write numbers",
        ) from error


def _check_options(args: argparse.Namespace) -> None:
    """Raise where an option has an invalid value, before any work."""
    for name, least in (("episodes", 1), ("workers", 1), ("image_size", 32), ("seed", 0), ("noise", 0)):
        value = getattr(args, name)
        if value < least:
            option = "--" + name.replace("_", "-")
            raise OptionError(
                "an option is too small", key=option, expected=f"{least} or more", found=value, remedy=f"raise {option}"
            )
    if args.env != "tabletop":
        _check_other(args)
    if args.image_size % 2:
        raise OptionError(
            "videos need an even size",
            key="--image-size",
            expected="an even number",
            found=args.image_size,
            remedy="add 1",
        )
    if args.takeover is not None and not Path(args.takeover).is_dir():
        raise OptionError(
            "there is no such policy",
            file=args.takeover,
            key="--takeover",
            expected="a policy's folder, as vla-agent train writes it",
            found="no folder",
            remedy="give the folder of a trained policy",
        )
    for mode, delay in product(
        _split_list(args.takeover_execution) or ("",), _parse_delays(args.takeover_delays_ms) or (-1.0,)
    ):
        Execution(mode, delay)  # raises for an unknown mode or an impossible delay
    from sim.perturbations.appearance import check_appearance_axes

    check_appearance_axes(_split_list(args.vary))


def _check_other(args: argparse.Namespace) -> None:
    """Raise where an option is of the tabletop alone."""
    owned = {
        "--suite": ("tabletop", args.suite),
        "--split": ("seen", args.split),
        "--vary": ("", args.vary),
        "--takeover": (None, args.takeover),
        "--image-size": (96, args.image_size),
    }
    for option, (default, found) in owned.items():
        if found != default:
            raise OptionError(
                "the option is of the tabletop alone",
                key=option,
                expected=f"nothing, with --env {args.env}",
                found=found,
                remedy="leave it out; vla-agent env show ENV shows what the environment has",
            )


def _table(plan) -> Table:  # noqa: ANN001
    """Episodes, attempts and success rate of each task."""
    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for column in ("episodes", "attempts", "success"):
        table.add_column(column, justify="right")
    for task, row in plan.summary().items():
        attempts = row["attempts"]
        rate = f"{row['episodes'] / attempts:.1%}" if attempts else ""
        table.add_row(task, f"{row['episodes']}/{plan.wanted[task]}", str(attempts), rate)
    return table


class _ProgressDisplay:
    """Progress of a collection: a live table on a terminal, else a line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._start = self._last_line = time.monotonic()
        self._episodes = self._frames = 0

    def __enter__(self) -> _ProgressDisplay:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, progress) -> None:  # noqa: ANN001
        """Show the state after an attempt."""
        self._episodes += progress.outcome == "recorded"
        self._frames += progress.frames
        plan = progress.plan
        wanted = sum(plan.wanted.values())
        done = sum(len(plan.recorded(task)) for task in plan.wanted)
        seconds = time.monotonic() - self._start
        left = (wanted - done) * seconds / max(self._episodes, 1)
        line = f"{done}/{wanted} episodes, {self.rates()}, {left / 60:.0f}:{left % 60:02.0f} left"
        if self._live:
            table = _table(plan)
            table.caption = line
            grid = Table.grid()
            grid.add_row(ProgressBar(total=wanted, completed=done, width=60))
            grid.add_row(table)
            self._live.update(grid)
        elif time.monotonic() - self._last_line > 10:
            self._last_line = time.monotonic()
            self._console.print(line)

    def rates(self) -> str:
        """Episodes and frames per second so far."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        return f"{self._episodes / seconds:.2f} episodes/s, {self._frames / seconds:.0f} frames/s"
