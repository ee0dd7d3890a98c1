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

from vla_agent.errors import DatasetError, OptionError
from vla_agent.policy.execution_settings import Execution

EPILOG = """\
examples:
  vla-agent collect --suite tabletop --episodes 50 -o datasets/try          five episodes of each of the ten tasks
  vla-agent collect --tasks push_to_zone --episodes 200 --workers 2 -o datasets/push
  vla-agent collect --episodes 500 --takeover runs/mine -o datasets/corrections
  vla-agent collect --episodes 500 --takeover runs/mine --takeover-execution open_loop,realtime
                    --takeover-delays-ms 0,50,200 -o datasets/corrections    from the states that a slow policy reaches
  vla-agent collect --suite new --tasks lift --episodes 50 -o datasets/lift    a family that is new to it
  vla-agent collect --episodes 400 --vary lighting,background,camera -o datasets/varied    other light, tables, views

The experts see the simulator's state and are disturbed now and then, so that recoveries are in the data; the recorded
action is always the expert's answer, never the disturbance.  Episode k of a task uses seed S + k.  An episode in which
the expert fails is left out and counted in meta/collection.json.

Ctrl-C keeps what is complete in DIR.parts; the same command with --resume goes on and gives the same dataset, bit for
bit, as an uninterrupted run, with any number of workers.  The folder opens in lerobot 0.4 (LeRobotDataset) as it is.

Pictures are stored as PNG in the parquet files (--images, the default: exact, fastest to read) or as H.264 4:2:0
(--video: a fifth of the size and plays everywhere, but blurs the colour of small things; docs/data.md has the numbers).

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
    add = parser.add_argument
    add("--suite", default="tabletop", help="the tasks to show (default: %(default)s)")
    add(
        "--tasks",
        default="",
        metavar="A,B",
        help="only these tasks, or paths of task files (default: all of the suite)",
    )
    add(
        "--episodes",
        type=int,
        required=True,
        metavar="N",
        help="successful episodes in all, spread evenly over the tasks",
    )
    add("--seed", type=int, default=1_000_000, metavar="S", help="first seed of each task (default: %(default)s)")
    add("--workers", type=int, default=1, metavar="W", help="processes, at best one per core (default: %(default)s)")
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="the folder to write; it must not exist")
    add("--resume", action="store_true", help="go on with the unfinished collection in DIR.parts")
    add("--noise", type=float, default=1.0, help="strength of the disturbances, 0 for none (default: %(default)s)")
    add(
        "--image-size",
        type=int,
        default=96,
        metavar="PX",
        help="height and width of the pictures (default: %(default)s)",
    )
    storage = parser.add_mutually_exclusive_group()
    storage.add_argument("--images", dest="storage", action="store_const", const="images", help="store PNG in parquet")
    storage.add_argument(
        "--video", dest="storage", action="store_const", const="video", help="store H.264 4:2:0, lossy"
    )
    add(
        "--takeover",
        metavar="POLICY",
        help="a policy's folder: it drives for 10 to 150 steps, then the expert takes over and is recorded (HG-DAgger)",
    )
    add(
        "--takeover-execution",
        default="open_loop",
        metavar="A,B",
        help="how its chunks are executed, one drawn for each episode (docs/execution.md; default: %(default)s)",
    )
    add(
        "--takeover-delays-ms",
        default="0",
        metavar="A,B",
        help="how long it thinks while the world goes on, one drawn for each episode (default: %(default)s)",
    )
    add(
        "--split",
        default="seen",
        help="seen, wordings or objects (docs/tasks.md); who learns from `objects` has seen the held-out pairs of "
        "colour and shape (default: %(default)s)",
    )
    add(
        "--vary",
        default="",
        metavar="A,B",
        help="vary the look of each episode, for a policy that other light or another table does not confuse: some of "
        "lighting, camera, background, object_look, sensor, each at severity 1 to 3 in half of the episodes",
    )
    parser.set_defaults(run=run, storage="images")


def run(args: argparse.Namespace) -> int:
    """Collect, show progress, say what came of it.

    Raises:
        VlaAgentError: bad options, an existing folder, unknown tasks, a full disk, a simulator that cannot start.
    """
    _check(args)
    from vla_agent.data.collect.collection import Recipe, collect

    recipe = Recipe(
        args.suite,
        _words(args.tasks),
        args.seed,
        args.noise,
        args.image_size,
        args.storage,
        args.takeover,
        _words(args.takeover_execution),
        _delays(args.takeover_delays_ms),
        _words(args.vary),
        args.split,
    )
    if args.resume and (args.out / "meta" / "info.json").exists():
        return _already(args.out, recipe, args.episodes)
    console = Console()
    view = _View(console)
    with view:
        plan = collect(recipe, args.out, args.episodes, args.workers, args.resume, view.update)
    console.print(_table(plan))
    if not plan.complete:
        done = sum(outcome == "recorded" for outcome in plan.outcomes.values())
        console.print(f"stopped: {done} of {args.episodes} episodes kept in {args.out}.parts; go on with --resume")
        return 130
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    console.print(f"wrote {args.out}: {args.episodes} episodes, {size / 1e6:.1f} MB; {view.rates()}")
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _delays(text: str) -> tuple[float, ...]:
    """Milliseconds from the option's text.

    Raises:
        OptionError: not numbers.
    """
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError as error:
        raise OptionError(
            "a delay is not a number",
            key="--takeover-delays-ms",
            expected="milliseconds with commas between them, such as 0,50,200",
            found=text,
            remedy="write numbers",
        ) from error


def _check(args: argparse.Namespace) -> None:
    for name, least in (("episodes", 1), ("workers", 1), ("image_size", 32), ("seed", 0), ("noise", 0)):
        value = getattr(args, name)
        if value < least:
            option = "--" + name.replace("_", "-")
            raise OptionError(
                "an option is too small", key=option, expected=f"{least} or more", found=value, remedy=f"raise {option}"
            )
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
    for mode, delay in product(_words(args.takeover_execution) or ("",), _delays(args.takeover_delays_ms) or (-1.0,)):
        Execution(mode, delay)  # refuses what makes no sense
    from sim.perturbations.appearance import check_appearance_axes

    check_appearance_axes(_words(args.vary))


def _already(out: Path, recipe, episodes: int) -> int:  # noqa: ANN001
    """The dataset is complete: say so where it is what was asked for.

    Raises:
        DatasetError: it was collected with other options.
    """
    import json
    from dataclasses import asdict

    from vla_agent.data.lerobot.dataset_reader import load

    dataset = load(out)
    asked = {**json.loads(json.dumps(asdict(recipe))), "episodes": episodes}
    earlier = {
        "takeover_execution": ["open_loop"],
        "takeover_delays_ms": [0.0],
        "vary": [],
        "split": "seen",
    }  # once not written
    found = {**earlier, **dataset.collection, "episodes": len(dataset.episodes)}
    changed = [
        f"{key}: {found.get(key)} in it, {value} asked" for key, value in asked.items() if found.get(key) != value
    ]
    if changed:
        raise DatasetError(
            "the folder holds a finished dataset that was collected otherwise",
            file=out,
            key=", ".join(line.split(":")[0] for line in changed),
            expected="a new folder, or the options that this dataset was collected with",
            found="; ".join(changed),
            remedy="choose another folder",
        )
    print(f"{out} is complete: {episodes} episodes")
    return 0


def _table(plan) -> Table:  # noqa: ANN001
    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for column in ("episodes", "attempts", "success"):
        table.add_column(column, justify="right")
    for task, row in plan.summary().items():
        attempts = row["attempts"]
        share = f"{row['episodes'] / attempts:.1%}" if attempts else ""
        table.add_row(task, f"{row['episodes']}/{plan.wanted[task]}", str(attempts), share)
    return table


class _View:
    """The progress while collecting: a live table on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._began = self._said = time.monotonic()
        self._episodes = self._frames = 0

    def __enter__(self) -> _View:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, progress) -> None:  # noqa: ANN001
        self._episodes += progress.outcome == "recorded"
        self._frames += progress.frames
        plan = progress.plan
        wanted = sum(plan.wanted.values())
        done = sum(len(plan.recorded(task)) for task in plan.wanted)
        seconds = time.monotonic() - self._began
        left = (wanted - done) * seconds / max(self._episodes, 1)
        line = f"{done}/{wanted} episodes, {self.rates()}, {left / 60:.0f}:{left % 60:02.0f} left"
        if self._live:
            table = _table(plan)
            table.caption = line
            grid = Table.grid()
            grid.add_row(ProgressBar(total=wanted, completed=done, width=60))
            grid.add_row(table)
            self._live.update(grid)
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            self._console.print(line)

    def rates(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return f"{self._episodes / seconds:.2f} episodes/s, {self._frames / seconds:.0f} frames/s"
