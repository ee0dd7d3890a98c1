"""``vla-agent env``: list, show, check and install environments."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from vla_agent.cli.environment_options import options_of

DESCRIPTION = """\
Environments for eval, collect and replay: the tabletop, public benchmarks, and your own.
"""
EPILOG = """\
examples:
  vla-agent env list                                     # what there is, and what is installed
  vla-agent env setup metaworld                          # its own Python, from a pinned list; goes on after Ctrl-C
  vla-agent env show metaworld                           # contract, tasks, what it offers
  vla-agent env check my_world.py:MyWorld                # what is wrong with your environment, and how to mend it
  vla-agent eval random --env my_world.py:MyWorld

next: vla-agent eval POLICY --env ENV.  docs/environments.md says how to write one: seven methods, or a YAML file for a
Gymnasium environment.
exit codes: 0 done, 1 the check found faults, 2 bad input
"""


def add_parser(subparsers: Any) -> None:
    """Add ``env`` and its own commands."""
    parser = subparsers.add_parser("env", help="environments", description=DESCRIPTION, epilog=EPILOG)
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", required=True, parser_class=type(parser))
    commands.add_parser("list", help="the known environments").set_defaults(act=_list)
    for name, text, act in (
        ("show", "contract, tasks, and what it offers", _show),
        ("check", "play a few steps of a few tasks, and name what is wrong", _check),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("env", metavar="ENV", help="a name, FILE.py:FACTORY, MODULE:FACTORY or FILE.yaml")
        command.add_argument("--env-option", action="append", default=[], metavar="KEY=VALUE", help="of its factory")
        command.set_defaults(act=act)
        if name == "check":
            command.add_argument("--tasks", default="3", metavar="N", help="the first N tasks, or A,B (default: 3)")
            command.add_argument("--steps", type=int, default=20, metavar="N", help="steps of each try (default: 20)")
            command.add_argument("--seed", type=int, default=1000, metavar="S", help="first seed (default: 1000)")
    setup = commands.add_parser("setup", help="install a benchmark into a Python of its own", description=SETUP)
    setup.add_argument("name", metavar="NAME", help="metaworld, libero, pusht; or a name of yours with --pins")
    setup.add_argument("--pins", type=Path, metavar="FILE", help="a list of pinned packages, as pip freeze writes it")
    setup.add_argument("--dry-run", action="store_true", help="say what would be downloaded, and do nothing")
    setup.set_defaults(act=_setup)


SETUP = """\
Make a Python of its own for a benchmark whose versions do not fit beside this package's, from a pinned list.  It gets
no torch: the policy stays in this Python, or on another machine (ws://HOST:PORT), and asks it over pipes.
"""


def run(args: argparse.Namespace) -> int:
    """Run the chosen command."""
    return int(args.act(args))


def _list(args: argparse.Namespace) -> int:
    from importlib.metadata import entry_points

    from vla_agent.environments.names import GROUP, HERE, SHIPPED
    from vla_agent.environments.own.own_python import is_ready, read_pins

    print("tabletop    ready   the simulated arm of this project (vla-agent tasks)")
    for name in SHIPPED:
        own = name not in HERE
        about = read_pins(name).about if own else "a toy for trying out, in this Python"
        print(f"{name:<11} {'ready' if not own or is_ready(name) else 'absent':<7} {about}")
        if own and not is_ready(name):
            print(f"{'':<19} vla-agent env setup {name}")
    for point in entry_points(group=GROUP):
        print(f"{point.name:<11} ready   {point.value}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from vla_agent.environments.opening import open_environment
    from vla_agent.environments.protocol import OPTIONAL, offers

    environment: Any = open_environment(args.env, dict(options_of(args))).environment
    with closing(environment):
        contract, tasks = environment.contract, list(environment.tasks())
        print(f"{args.env}: {len(tasks)} tasks, {contract.control_hz:g} Hz, contract {contract.hash[:12]}")
        for camera in contract.cameras:
            print(f"  camera  {camera.name}: {camera.height} x {camera.width} {camera.color}")
        for part, fields in (("state", contract.state), ("action", contract.action)):
            for f in fields:
                limits = "" if f.low is None and f.high is None else f", {f.low} to {f.high}"
                print(f"  {part:<7} {f.name}[{f.size}] {f.unit} {f.frame}{limits}")
        for name, text in OPTIONAL.items():
            print(f"  {'offers' if offers(environment, name) else 'lacks':<7} {name}: {text}")
        groups = environment.groups() if offers(environment, "groups") else {"tasks": tasks}
        for group, names in groups.items():
            print(f"  {group} ({len(names)}): {', '.join(names)}")
        if offers(environment, "axes"):
            print(f"  axes: {', '.join(environment.axes())}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from rich.progress import Progress

    from vla_agent.environments.check.check import Settings, check
    from vla_agent.environments.opening import open_environment

    with Progress(transient=True) as bar:
        task = bar.add_task("opening", total=None)
        names = tuple(name.strip() for name in args.tasks.split(",") if name.strip())
        settings = Settings(int(args.tasks) if args.tasks.isdigit() else names, args.steps, args.seed)
        findings = check(
            lambda: open_environment(args.env, dict(options_of(args))).environment,
            settings,
            lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
        )
    for finding in findings:
        print(f"{'error' if finding.error else 'note '}  {finding.check}: {finding.found}\n       {finding.remedy}")
    wrong = sum(finding.error for finding in findings)
    print(f"{args.env}: {wrong} errors, {len(findings) - wrong} notes" if findings else f"{args.env}: no findings")
    return 1 if wrong else 0


def _setup(args: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vla_agent.environments.own.installation import install, missing_packages
    from vla_agent.environments.own.own_python import own_folder, read_pins

    pins, folder = read_pins(args.name, args.pins), own_folder(args.name)
    missing = missing_packages(folder, pins.packages)
    print(f"{args.name}: {pins.about or f'{len(pins.packages)} packages of {pins.file.name}'}")
    print(f"{len(missing)} of {len(pins.packages)} packages are to be installed into {folder}")
    if args.dry_run:
        print("\n".join(f"  {package}" for package in missing))
        return 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=len(pins.packages))
        install(
            args.name, pins, lambda name, done, total: bar.update(task, description=name, completed=done, total=total)
        )
    print(f"ready: vla-agent env show {args.name}; vla-agent eval random --env {args.name}")
    return 0
