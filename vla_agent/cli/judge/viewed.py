"""What `vla-agent view` opens: which source a path or option means, and which options it takes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla_agent.errors import OptionError

SIMULATOR, GRAPH, EPISODE, TRAINING = "the simulator", "a ROS 2 graph", "a recorded episode", "a training"
TAKES = {  # what each source takes, of the options that not all take
    SIMULATOR: {"task", "seed", "robot", "openvino", "marks"},
    GRAPH: {"robot", "namespace", "discovery"},
    EPISODE: {"episode", "against", "policy", "robot", "env"},
    TRAINING: {"validation"},
}
SHIPPED = "policies/tabletop-nano"
POLICIES = ("policy.json", "adapter.json", "export.json", "policy/policy.json")  # what a policy's folder holds
NICENESS = 5  # of a process that watches a graph: where a processor is short, control comes first


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose and describe what is shown."""
    add = parser.add_argument
    add("--task", metavar="NAME|FILE", help="simulator: task family (default: put_in_tray)")
    add("--seed", type=int, metavar="N", help="simulator: of the first scene (default: 0)")
    add("--openvino", action="store_true", default=None, help="simulator: run the policy with OpenVINO")
    add("--marks", type=Path, metavar="FILE", help="simulator: append your verdicts to this file, as JSON lines")
    add(
        "--robot",
        metavar="NAME|FILE",
        help="simulator: put this robot's supervisor before the arm; graph, dataset, recording: whose joints they are",
    )
    add("--ros", action="store_true", help="show the ROS 2 graph that runs, in place of a path")
    add("--namespace", metavar="NAME", help="graph: of its nodes")
    add("--discovery", choices=("localhost", "subnet"), help="graph: which hosts are heard")
    add("--episode", type=int, metavar="N", help="episode: its number (default: 0)")
    add(
        "--against",
        metavar="expert|PATH",
        help="episode: beside it the expert, or the same seed or number of another evaluation, dataset or recording",
    )
    add("--policy", metavar="POLICY", help="episode: a policy that looks at it, and says what it would do")
    add("--env", metavar="NAME", help="episode: the evaluation's environment, where it is none of the shipped ones")
    add("--validation", metavar="DATASET", help="training: frames that it does not see, for sample predictions")


def kind_of_source(args: argparse.Namespace) -> str:
    """Which source the command line means.

    Raises:
        OptionError: an option does not belong to it, or the path holds nothing that can be shown.
    """
    if args.seconds is not None and (args.rerun is None or not args.seconds > 0):
        raise OptionError(
            "--seconds says how long --rerun writes",
            key="--seconds",
            expected="a number above 0, with --rerun FILE",
            found=args.seconds,
            remedy="a page stays open until Ctrl-C",
        )
    if args.ros and args.what is not None:
        raise OptionError(
            "a graph is shown in place of a path",
            key="--ros",
            expected="--ros or a path, not both",
            found=args.what,
            remedy="leave one of them out",
        )
    args.what = args.what or SHIPPED
    kind = GRAPH if args.ros else _kind_of_path(args.what)
    given = [name for names in TAKES.values() for name in names if getattr(args, name) is not None]
    if wrong := sorted(set(given) - TAKES[kind]):
        raise OptionError(
            f"{kind} does not take this option",
            key=", ".join(f"--{name}" for name in wrong),
            expected=", ".join(f"--{name}" for name in sorted(TAKES[kind])),
            found=args.what if not args.ros else "--ros",
            remedy="leave it out; vla-agent view --help says what takes it",
        )
    return kind


def _kind_of_path(what: str) -> str:
    from vla_agent.view.sources.lanes.opening import kind_of
    from vla_agent.view.sources.training import is_training

    path = Path(what)
    if (path / "policy.json").is_file() or not path.exists():
        return SIMULATOR
    if kind_of(path):
        return EPISODE
    if is_training(path):
        return TRAINING
    if path.is_dir() and not any((path / name).is_file() for name in POLICIES):
        raise OptionError(
            "nothing in this folder can be shown",
            file=path,
            key="WHAT",
            expected=f"one of {', '.join((*POLICIES, 'report.json', 'meta/info.json', 'recipe.yaml'))}, or bags",
            found=", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "an empty folder",
            remedy="name the folder of a policy, evaluation, dataset, recording or training",
        )
    return SIMULATOR


def source_of(kind: str, args: argparse.Namespace) -> Any:
    """The source of a kind, not opened yet.

    Raises:
        VlaAgentError: what is to be shown is not there, or damaged.
    """
    makers: dict[str, Callable[[argparse.Namespace], Any]] = {
        SIMULATOR: _simulator,
        GRAPH: _graph,
        EPISODE: _episode,
        TRAINING: _training,
    }
    return makers[kind](args)


def _simulator(args: argparse.Namespace) -> Any:
    from vla_agent.view.sources.simulator import SimulatorSettings, SimulatorSource

    task, seed, robot = args.task or "put_in_tray", args.seed or 0, args.robot or ""
    return SimulatorSource(SimulatorSettings(args.what, task, seed, robot, bool(args.openvino), args.marks))


def _graph(args: argparse.Namespace) -> Any:
    from vla_agent.view.sources.ros_graph import GraphSettings, RosGraph

    os.nice(NICENESS)  # before the page's threads start: they inherit it
    return RosGraph(GraphSettings(args.robot or "panda", args.namespace or "", args.discovery or ""))


def _episode(args: argparse.Namespace) -> Any:
    from vla_agent.view.sources.episode import EpisodeSettings, EpisodeSource

    given = {name: getattr(args, name) for name in ("against", "policy", "robot") if getattr(args, name) is not None}
    return EpisodeSource(EpisodeSettings(Path(args.what), args.episode or 0, env=args.env, **given))


def _training(args: argparse.Namespace) -> Any:
    from vla_agent.view.sources.training import TrainingSettings, TrainingSource

    return TrainingSource(TrainingSettings(Path(args.what), args.validation or ""))


def write_for_rerun(kind: str, source: Any, args: argparse.Namespace, ended: Callable[[], bool]) -> int:
    """Write what a source shows into ``args.rerun``, without a page; the number of frames.

    Raises:
        OptionError: rerun-sdk is not installed.
        VlaAgentError: the source cannot be shown.
    """
    from vla_agent.view.output.rerun_file import write_rerun
    from vla_agent.view.source import Command

    begin = (Command("start"),) if kind in (SIMULATOR, EPISODE) else ()
    return write_rerun(source, args.rerun, begin, args.seconds, ended)
