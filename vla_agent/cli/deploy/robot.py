"""``vla-agent robot``: a robot's file, and what the robot demands of a certificate before its motors move."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

LATENCY_MS = 500.0  # where the gate file does not fix the latency
DESCRIPTION = """\
The robot file says what the robot is: `new` writes a first one from a URDF, `check` says whether it can be used.

A certificate says what was tried; the robot's demands say what is enough.  They are a file of the robot's owner,
demands/ROBOT.yaml in the folder of the keys on the robot's machine, and bind the robot file, the gate files, the
simulator, the lowest thresholds, the largest error rates, the longest validity and the largest latency.  Without them
no certificate moves hardware.
"""
EPILOG = """\
examples:
  vla-agent robot new arm.urdf --end-effector tool0 --topics -o my_robot.yaml   # a first robot file
  vla-agent robot check my_robot.yaml --policy runs/mine/policy                  # can it be used?
  vla-agent robot demands panda --gate gates/tabletop.yaml         # write what this gate shows as the robot's demands
  vla-agent robot demands my_robot.yaml --gate gates/tabletop.yaml --validity-days 30 --key lab
  vla-agent robot demands panda                                    # show them

Demands that say nothing for hardware are not written: success below 50 %, an instruction that need not be followed,
error rates above 5 % (alpha) or 20 % (beta), a year and more.  Demands that stand there are replaced.

next: vla-agent gate POLICY --robot ROBOT --key NAME -o DIR, then vla-agent up robot with the certificate
"""


def add_parser(subparsers: Any) -> None:
    """Add ``robot`` to the command line."""
    from vla_agent.cli.deploy.robot_file import add_parsers

    parser = subparsers.add_parser(
        "robot", help="a robot's file, and what the robot demands", description=DESCRIPTION, epilog=EPILOG
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_parsers(actions)
    demands = actions.add_parser("demands", help="write or show the robot's demands", epilog=EPILOG)
    demands.add_argument("robot", metavar="ROBOT", help="robot file, or its name, such as panda")
    demands.add_argument("--gate", metavar="FILE", help="gate file that is enough (default: show the demands)")
    demands.add_argument(
        "--validity-days", type=int, metavar="N", help="longest validity of a certificate (default: the gate file's)"
    )
    demands.add_argument(
        "--latency-ms",
        type=float,
        metavar="MS",
        help=f"largest certified latency (default: the gate file's delay_ms, else {LATENCY_MS:g})",
    )
    demands.add_argument(
        "--key", action="append", metavar="NAME", help="trusted key that may sign; may be repeated (default: all)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    if args.action == "demands":
        return _demands(args)
    from vla_agent.cli.deploy.robot_file import run_check, run_new

    return run_new(args) if args.action == "new" else run_check(args)


def _demands(args: argparse.Namespace) -> int:
    """Write or show the demands; 0."""
    from vla_agent.gate.certificate.demands import demands_file, read_demands
    from vla_agent.gate.certificate.keys import keys_folder
    from vla_agent.robot.description import read_robot

    robot, robot_file = read_robot(args.robot)
    folder = keys_folder()
    if args.gate is not None:
        _write(args, robot.name, robot_file, folder)
    demands = read_demands(robot.name, folder)
    print(f"{demands_file(robot.name, folder)}\nthe robot {robot.name} moves only with a certificate that shows:")
    for name, value in demands.model_dump().items():
        print(f"  {name}: {_words(value)}")
    if demands.robot_file != robot_file:
        print(f"the robot file {args.robot} is another one ({robot_file}): with it nothing will move")
    return 0


def _write(args: argparse.Namespace, robot: str, robot_file: str, folder: Path) -> None:
    from vla_agent.files.shipped import find_shipped
    from vla_agent.gate.certificate.bound_files import simulator_files
    from vla_agent.gate.certificate.demands import demands_from_gate, write_demands
    from vla_agent.gate.decision.gate_file import hash_gate, load_gate

    file = find_shipped(args.gate)
    gate = load_gate(file)
    delay = LATENCY_MS if gate.delay_ms is None else gate.delay_ms
    data = demands_from_gate(
        gate,
        hash_gate(file),
        robot=robot,
        robot_file=robot_file,
        simulator=simulator_files(),
        latency_ms=delay if args.latency_ms is None else args.latency_ms,
        validity_days=args.validity_days,
        keys=_fingerprints(args.key, folder),
    )
    write_demands(data, folder, file)


def _fingerprints(names: list[str] | None, folder: Path) -> tuple[str, ...] | None:
    from vla_agent.errors import OptionError
    from vla_agent.gate.certificate.keys import trusted
    from vla_agent.gate.certificate.revocations import require_not_revoked

    if names is None:
        return None
    known = {key.name: key.fingerprint for key in trusted(folder).values()}
    for name in names:
        if name not in known:
            raise OptionError(
                "this key is not trusted here",
                file=folder,
                key="--key",
                expected=", ".join(known) or "a trusted key; none is trusted here",
                found=name,
                remedy="vla-agent keys trust FILE.pub, if you trust its owner",
            )
        require_not_revoked(name, known[name], folder)
    return tuple(known[name] for name in names)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(x)}" for name, x in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "every trusted key" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
