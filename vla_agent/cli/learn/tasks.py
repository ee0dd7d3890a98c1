"""``vla-agent tasks``: what can be asked of the simulated arm, and whether a task file is right."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from vla_agent.errors import OptionError

if TYPE_CHECKING:
    from sim.tasks.task import TaskFamily, TaskInstance

EPILOG = """\
examples:
  vla-agent tasks                                    the suite's families
  vla-agent tasks put_in_tray                        its wordings, goal, expert and one sampled task
  vla-agent tasks --check my_task.yaml               is this file right?  prints the line to mend
  vla-agent tasks --picture tasks.png                one scene of each family, from both cameras
  vla-agent tasks stack --picture stack.png --seed 7

a task is one YAML file: docs/tasks.md says what stands in it, sim/tasks holds ten examples.
next: vla-agent eval expert --tasks my_task.yaml --episodes 5
"""
EXAMPLES = 4  # pictures of a single family


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "tasks",
        help="list the tasks, show their wordings and pictures, check a task file",
        description="List the task families, show one, check a task file, or picture them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="family, or path of a task file; none: all")
    parser.add_argument("--suite", default="tabletop", help="suite of families (default %(default)s)")
    parser.add_argument("--check", metavar="FILE", type=Path, help="check a task file and sample a scene of each split")
    parser.add_argument(
        "--picture", metavar="PNG", type=Path, help="write example scenes, both cameras, as one picture"
    )
    parser.add_argument("--seed", type=int, default=0, help="first seed of the examples (default %(default)s)")
    parser.add_argument("--split", default="seen", help="seen, wordings or objects (default %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; exit code 0, or a typed error.

    Raises:
        TaskError: an unknown name, split or suite, or a wrong file.
        OptionError: a picture that is no .png, or a negative seed.
    """
    from sim.tasks.task import load_family, select

    if args.seed < 0:
        raise OptionError(
            "the seed is negative", key="--seed", expected="0 or more", found=args.seed, remedy="raise it"
        )
    console = Console(highlight=False, soft_wrap=True)
    if args.check:
        family = load_family(args.check)
        _check(family, args.seed, console)
        families = {family.name: family}
    else:
        families = select(args.name, args.suite)
        if args.name:
            for family in families.values():
                _show(family, _sample(family, args.seed, args.split), console)
        elif not args.picture:
            _list(families, console)
    if args.picture:
        number = EXAMPLES if len(families) == 1 else 1
        shown = [f for f in families.values() for _ in range(number)]
        tasks = [_sample(f, args.seed + k, args.split) for k, f in enumerate(shown)]
        _picture(tasks, args.picture)
        console.print(f"wrote {args.picture}: {len(tasks)} scenes, front and wrist camera")
    return 0


def _sample(family: TaskFamily, seed: int, split: str) -> TaskInstance:
    return family.episode(seed, split)


def _list(families: dict[str, TaskFamily], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for title, justify in (("task", "left"), ("what", "left"), ("wordings", "right"), ("limit", "right")):
        table.add_column(title, justify=justify, no_wrap=title != "what")  # type: ignore[arg-type]  # strings of a tuple, not literals
    for f in families.values():
        wordings = f"{len(f.wordings.train)} + {len(f.wordings.held_out)} held out"
        table.add_row(f.name, f.description, wordings, f"{f.time_limit / 20:.0f} s")
    console.print(table)
    console.print(
        "\nvla-agent tasks NAME shows one; --picture tasks.png draws them; docs/tasks.md says how to add yours"
    )


def _show(family: TaskFamily, task: TaskInstance, console: Console) -> None:
    spec = family.spec
    console.print(f"[bold]{family.name}[/]: {family.description}")
    rows = [("file", _short(family.file)), ("goal", spec.goal), ("expert", ", ".join(map(_skill, family.expert)))]
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
    things = ", ".join(f"{o.colour} {o.shape}" for o in task.scene.objects)
    console.print(f"    on the table: {things}; drawer {task.scene.drawer_open:.0%} open", markup=False)
    for other in task.other_instructions[:3]:
        console.print(f'    could also be asked: "{other}"', markup=False)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _skill(skill: tuple[str, dict[str, str]]) -> str:
    name, args = skill
    return name + (f" ({', '.join(f'{k}: {v}' for k, v in args.items())})" if args else "")


def _check(family: TaskFamily, seed: int, console: Console) -> None:
    """A file that loads is sampled too: conditions may leave no room."""
    for split, lack in (
        ("seen", None),
        ("wordings", None if family.wordings.held_out else "no held-out wordings"),
        ("objects", None if family.has_held_out_pairs else "the first object has none of the held-out pairs"),
    ):
        text = f"cannot be evaluated: {lack}" if lack else f'"{_sample(family, seed, split).instruction}"'
        console.print(f"{split:<9} {text}", markup=False)
    console.print(f"{_short(family.file)} is a valid task file", markup=False)


def _picture(tasks: list[TaskInstance], path: Path) -> None:
    """A contact sheet, written aside first."""
    if path.suffix.lower() != ".png":
        raise OptionError(
            "the picture is no .png",
            key="--picture",
            expected="a path that ends in .png",
            found=path,
            remedy="rename it",
        )
    from sim.world.world import World  # before matplotlib: it chooses the GL backend

    world = World((240, 240))
    pictures = []
    for task in tasks:
        world.reset(task.scene)
        pictures.append(world.render())
    world.close()

    from matplotlib.figure import Figure

    columns = 2
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(6.6 * columns, 3.5 * rows), dpi=80, layout="constrained")
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for k, (task, images) in enumerate(zip(tasks, pictures, strict=True)):
        row, column = divmod(k, columns)
        for view, image in enumerate(images.values()):
            axes[row, 2 * column + view].imshow(image)
        axes[row, 2 * column].set_title(f"{task.family}: {task.instruction}", fontsize=9, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    figure.savefig(aside, format="png")
    os.replace(aside, path)
