"""The command ``vla-agent``.

Each subcommand is a module ``vla_agent/cli/ROOM/NAME.py`` with ``add_parser(subparsers)`` and ``run(args) -> int``.
Only the module of the given command is imported: ``--help`` is fast, one broken module breaks one command.

Exit codes: 0 done, 1 below a threshold (``--min-success``, ``gate``, ``doctor``), 2 bad input, 3 a bug,
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from vla_agent import __version__
from vla_agent.errors import VlaAgentError

ROOMS: dict[str, dict[str, str]] = {  # folder -> command -> what it does
    "learn": {
        "tasks": "list the task families, show their wordings and images, check a task file",
        "collect": "record demonstrations of the scripted experts as a LeRobotDataset v3.0",
        "data": "inspect, validate, view, edit and convert datasets of demonstrations",
        "train": "train a policy from a recipe",
        "finetune": "adapt a policy to new demonstrations (LoRA and others), and compare it with its base",
    },
    "judge": {
        "eval": "evaluate a policy in simulation: report.json, report.html, videos",
        "env": "list, show, check and install environments: public benchmarks, or your own",
        "compare": "tell whether one policy is better than another, from two reports on the same seeds",
        "bridge": "give the success rate on the real robot an interval, from few trials and many simulated episodes",
        "ask": "ask a policy what it sees in an image: existence, counts, relations, lists, each with a confidence",
        "view": "look at a policy live: a local page with 3-D view, cameras, plots and controls",
        "replay": "replay one episode of a report bit for bit and write its video",
        "gate": "certify a policy: perturbations, language, latency; writes report.html, certificate.json",
        "verify": "check a certificate against the files that it binds",
        "keys": "create, list, trust and revoke the keys that sign certificates",
    },
    "deploy": {
        "inspect": "print what a policy, a dataset or the simulator observes and emits, and whether two match",
        "profile": "show where inference time goes, and how far it is from the machine's limits",
        "export": "export a policy as ONNX or OpenVINO graphs, with a runner that needs no torch",
        "serve": "serve a policy over a websocket: openpi's protocol, token, limits, health",
        "robot": "write a first robot file, check one, or say what the robot demands of a certificate",
        "up": "start a graph of ROS 2 nodes: simulated robot, real robot, or recording",
    },
    "machine": {
        "doctor": "check this machine, and say how to fix what is missing",
        "cache": "show or delete the decoded dataset images on this machine",
    },
}
COMMANDS = {name: summary for commands in ROOMS.values() for name, summary in commands.items()}
RESUMABLE = ("collect", "train", "finetune", "eval", "gate")

DESCRIPTION = "VLA Agent: from demonstrations to a robot, through a simulation gate."
EPILOG = """\
a first tour:
  vla-agent doctor                                         is everything installed?
  vla-agent eval policies/tabletop-nano --episodes 2       drive the simulated arm, write a report
  vla-agent tasks                                          the task families

make your own:
  vla-agent collect --suite tabletop --episodes 50 -o datasets/mine
  vla-agent train policies/tabletop-nano.yaml -o runs/mine
  vla-agent eval runs/mine/policy --min-success 0.8

`vla-agent COMMAND --help` explains each command.  --debug (or VLA_AGENT_DEBUG=1) shows tracebacks.
exit codes: 0 done, 1 below a threshold, 2 bad input, 3 a bug, 130 stopped by Ctrl-C
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps the help's line breaks and takes no abbreviated options."""

    def __init__(self, **options) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; a word that is no valid choice comes with the nearest."""
        wrong = re.search(r"invalid choice: '?([^']*?)'? \(choose from (.*)\)", message)
        near = difflib.get_close_matches(wrong[1], re.findall(r"[^ ,']+", wrong[2]), 1, 0.5) if wrong else []
        super().error(message + (f"; did you mean '{near[0]}'?" if near else ""))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return its exit code."""
    if argv is None:  # as a program: its workers import nothing from the folder that it is started in, from Python 3.11
        os.environ["PYTHONSAFEPATH"] = "1"
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("VLA_AGENT_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    command = _command(arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter ends no command
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        options = parse(arguments)
        return _module(options.command).run(options)
    except VlaAgentError as error:
        _print_error(str(error), traceback.format_exc() if debug else None)
        return 2
    except KeyboardInterrupt:
        again = "; the same command with --resume continues from here" if command in RESUMABLE else ""
        print(f"\nstopped{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output closed the pipe: `vla-agent tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            return _unexpected(error, debug)
        wrapped = VlaAgentError(
            "a file or folder cannot be read or written",
            file=error.filename,
            expected="a readable path, writable for results, on a disk with free space",
            found=error.strerror or str(error),
            remedy="check the path, its permissions and the free space, or choose another path",
        )
        _print_error(str(wrapped), traceback.format_exc() if debug else None)
        return 2
    except Exception as error:
        return _unexpected(error, debug)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, ``command`` among them.  Leaves by `SystemExit` after help and after errors."""
    command = _command(arguments)
    parser = Parser(prog="vla-agent", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"vla-agent {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, summary in COMMANDS.items():
        if name != command:
            subparsers.add_parser(name, help=summary, add_help=False)
    if command is not None and command not in COMMANDS:
        parser.error(f"there is no command '{command}'{closest(command, COMMANDS)}")
    if command is None:
        parser.parse_args(arguments)  # --help and --version leave here
        parser.print_help()
        parser.exit()
    _module(command).add_parser(subparsers)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        subparser = _innermost(subparsers.choices[command], arguments)
        known = [flag for action in subparser._actions for flag in action.option_strings]
        name = unknown[0].split("=")[0]
        subparser.error(f"there is no option '{unknown[0]}'{closest(name, known)}")
    return options


def _innermost(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command's own command, such as ``sim`` of ``up``, which takes the options after it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = next((word for word in arguments if word in action.choices), "")
            return _innermost(action.choices[chosen], arguments) if chosen else parser
    return parser


def _module(command: str) -> Any:
    room = next(room for room, commands in ROOMS.items() if command in commands)
    return importlib.import_module(f"vla_agent.cli.{room}.{command}")


def _command(arguments: Sequence[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def closest(name: str, valid: Sequence[str] | dict[str, str]) -> str:
    """A half sentence to append to an error: ``; did you mean 'x'?`` or the list of the valid names."""
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(valid)}"


def _unexpected(error: BaseException, debug: bool) -> int:
    message = " ".join(str(error).split()) or "no message"
    text = f"unexpected {type(error).__name__}: {message[:400]}"
    hint = "  this is a bug in vla-agent; run again with --debug for the traceback, and please report it"
    _print_error(f"{text}\n{hint}", traceback.format_exc() if debug else None)
    return 3


def _print_error(text: str, trace: str | None) -> None:
    """The error on standard error, its first line red on a terminal; the traceback before it where one is wanted."""
    title, _, rest = f"error: {text}".partition("\n")
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        title = f"\033[1;31m{title}\033[0m"
    print((trace or "") + title + (f"\n{rest}" if rest else ""), file=sys.stderr)
