"""``vla-agent tasks``: list and show task families, and check a task file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from vla_agent.cli.output_name import require_suffix
from vla_agent.errors import OptionError
from vla_agent.files.write_aside import file_aside

if TYPE_CHECKING:
    import numpy as np

    from sim.tasks.task import TaskFamily, TaskInstance

DESCRIPTION = """\
List the task families, show one, check a task file, or render example scenes.

A suite is a set of task families that comes with the package: `tabletop` (the shipped policy was trained on its ten)
and `new` (two that it has not seen).  A task file of your own lies outside the suites: give its path where a command
takes families (eval, collect, finetune: --tasks FILE; gate: `tasks: [FILE]` in the gate file).

--check reads the file, samples a scene of each split, and runs the scripted expert on five seeds.
"""
EPILOG = """\
examples:
  vla-agent tasks                                    the families of the suite tabletop
  vla-agent tasks --suite new
  vla-agent tasks put_in_tray                        its wordings, goal, expert and one sampled task
  vla-agent tasks --check my_task.yaml               is this file right, and does the expert reach its goal?
  vla-agent tasks --picture tasks.png                one scene of each family, from both cameras
  vla-agent tasks stack --picture stack.png --seed 7

a task family is one YAML file: docs/tasks.md explains its keys; sim/tasks/tabletop holds ten examples.
next: vla-agent eval expert --tasks my_task.yaml --episodes 20
exit codes: 0 done, 1 --check: the expert reaches the goal on fewer than 4 of 5 seeds, 2 a wrong file or option
"""
EXAMPLES = 4  # images of a single family
CHECK_SEEDS = 5
LEAST_SUCCESSES = 4


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``tasks`` to the command line."""
    parser = subparsers.add_parser(
        "tasks",
        help="list the tasks, show their wordings and example scenes, check a task file",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="family, or path of a task file (default: all)")
    parser.add_argument("--suite", default="tabletop", help="tabletop or new (default: %(default)s)")
    parser.add_argument("--check", metavar="FILE", type=Path, help="check a task file, and run the expert on it")
    parser.add_argument("--picture", metavar="PNG", type=Path, help="write example scenes, both cameras, as one image")
    parser.add_argument("--seed", type=int, default=0, help="first seed (default: %(default)s)")
    parser.add_argument("--split", default="seen", help="seen, wordings or objects (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what the options ask for; returns the exit code.

    Raises:
        TaskError: an unknown name, split or suite, or a wrong file.
        OptionError: an image that is no .png, or a negative seed.
    """
    from sim.tasks.task import load_family, select

    if args.seed < 0:
        raise OptionError(
            "the seed is negative", key="--seed", expected="0 or more", found=args.seed, remedy="raise it"
        )
    console = Console(highlight=False, soft_wrap=True)
    code = 0
    if args.check:
        family = load_family(args.check)
        code = _check(family, args.seed, console)
        families = {family.name: family}
    else:
        families = select(args.name, args.suite)
        if args.name:
            for family in families.values():
                _show(family, family.episode(args.seed, args.split), console)
        elif not args.picture:
            _list(families, args.suite, console)
    if args.picture:
        number = EXAMPLES if len(families) == 1 else 1
        shown = [f for f in families.values() for _ in range(number)]
        tasks = [f.episode(args.seed + k, args.split) for k, f in enumerate(shown)]
        _write_examples(tasks, args.picture)
        console.print(f"wrote {args.picture}: {len(tasks)} scenes, front and wrist camera")
    return code


def _list(families: dict[str, TaskFamily], suite: str, console: Console) -> None:
    from sim.tasks.task import SUITES

    table = Table(box=None, pad_edge=False)
    for title, justify in (("task", "left"), ("description", "left"), ("wordings", "right"), ("limit", "right")):
        table.add_column(title, justify=justify, no_wrap=title != "description")  # type: ignore[arg-type]  # strings of a tuple, not literals
    for f in families.values():
        wordings = f"{len(f.wordings.train)} + {len(f.wordings.held_out)} held out"
        table.add_row(f.name, f.description, wordings, f"{f.time_limit / 20:.0f} s")
    console.print(table)
    others = " ".join(name for name in SUITES if name != suite)
    console.print(
        f"\nsuite {suite}: families that come with the package; another suite: {others}\n"
        "your own task file lies outside the suites: give its path, as in vla-agent eval expert --tasks my_task.yaml\n"
        "vla-agent tasks NAME shows one; --picture tasks.png renders them; docs/tasks.md explains how to add yours"
    )


def _show(family: TaskFamily, task: TaskInstance, console: Console) -> None:
    spec = family.spec
    console.print(f"[bold]{family.name}[/]: {family.description}")
    rows = [("file", _short(family.file)), ("suite", _suite_of(family)), ("goal", spec.goal)]
    rows.append(("expert", ", ".join(map(_skill, family.expert))))
    rows.append(("time limit", f"{family.time_limit} steps of 50 ms"))
    for role, o in spec.objects.items():
        rows.append((role, f"shapes {', '.join(o.shapes)}; colours {', '.join(o.colours)}"))
    for name, source in spec.choose.items():
        rows.append((name, ", ".join(source)))
    for key, value in rows:
        console.print(f"  {key + ':':<12}{value}", markup=False)
    for title, wordings in (("wordings", spec.wordings.train), ("held-out wordings", spec.wordings.held_out)):
        console.print(f"  {title}:")
        for wording in wordings:
            console.print(f"    {wording}", markup=False)
    console.print("  an example:")
    console.print(f'    "{task.instruction}"', markup=False)
    objects = ", ".join(f"{o.colour} {o.shape}" for o in task.scene.objects)
    console.print(f"    on the table: {objects}; drawer {task.scene.drawer_open:.0%} open", markup=False)
    for other in task.other_instructions[:3]:
        console.print(f'    another instruction for this scene: "{other}"', markup=False)


def _suite_of(family: TaskFamily) -> str:
    from sim.tasks.task import SUITES

    suite = next((name for name, folder in SUITES.items() if family.file.resolve().parent == folder), None)
    return suite or "none: your own file, given by its path"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _skill(skill: tuple[str, dict[str, str]]) -> str:
    name, args = skill
    return name + (f" ({', '.join(f'{k}: {v}' for k, v in args.items())})" if args else "")


def _check(family: TaskFamily, seed: int, console: Console) -> int:
    """Sample a scene of each split, since conditions may leave no room, and run the expert; returns the exit code."""
    for split, lack in (
        ("seen", None),
        ("wordings", None if family.wordings.held_out else "no held-out wordings"),
        ("objects", None if family.has_held_out_pairs else "the first object has none of the held-out pairs"),
    ):
        text = f"cannot be evaluated: {lack}" if lack else f'"{family.episode(seed, split).instruction}"'
        console.print(f"{split:<9} {text}", markup=False)
    file, seeds = _short(family.file), range(seed, seed + CHECK_SEEDS)
    successes = _run_expert(family, seeds, console)
    count = f"the expert reaches the goal on {successes} of {CHECK_SEEDS} seeds ({seeds[0]} to {seeds[-1]})"
    if successes < LEAST_SUCCESSES:
        console.print(
            f"{file} can be read, but {count}\n"
            "fix: compare the goal with what the expert's skills do, and the time limit with what they need; see\n"
            f"  vla-agent eval expert --tasks {file} --episodes {CHECK_SEEDS} --seed {seed}",
            markup=False,
        )
        return 1
    console.print(
        f"{file} is a valid task file: {count}\n"
        f"next: vla-agent eval expert --tasks {file} --episodes 20\n"
        f"      vla-agent collect --tasks {file} --episodes 50 -o datasets/{family.name}",
        markup=False,
    )
    return 0


def _run_expert(family: TaskFamily, seeds: range, console: Console) -> int:
    """Print each seed's outcome as it comes; returns the number of successes."""
    from sim.experts.expert_runs import run_expert
    from vla_agent.evaluation.failure_modes import classify

    successes = 0
    for episode in run_expert(family, seeds):
        successes += episode.success
        seconds, failure = episode.steps / 20, classify(episode.success, episode.events)
        text = (
            f"goal reached after {seconds:.1f} s" if not failure else f"goal not reached in {seconds:.1f} s: {failure}"
        )
        console.print(f"expert    seed {episode.seed}: {text}", markup=False)
    return successes


def _write_examples(tasks: list[TaskInstance], path: Path) -> None:
    """A contact sheet of the tasks' scenes, both cameras, as a PNG file."""
    require_suffix(path, ".png", "--picture")
    from sim.world.world import World  # before matplotlib: it chooses the GL backend

    world = World((240, 240))
    images: list[dict[str, np.ndarray]] = []
    for task in tasks:
        world.reset(task.scene)
        images.append(world.render())
    world.close()

    from matplotlib.figure import Figure

    columns = 2
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(6.6 * columns, 3.5 * rows), dpi=80, layout="constrained")
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for k, (task, views) in enumerate(zip(tasks, images, strict=True)):
        row, column = divmod(k, columns)
        for view, image in enumerate(views.values()):
            axes[row, 2 * column + view].imshow(image)
        axes[row, 2 * column].set_title(f"{task.family}: {task.instruction}", fontsize=9, loc="left")
    with file_aside(path) as aside:
        figure.savefig(aside, format="png")
