"""``vla-agent eval``: evaluate a policy and its controls in simulation, and write the report."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

from vla_agent.cli.environment_options import add_environment, policy_part, short_name
from vla_agent.cli.judge.worker_options import add_workers, run_options, workers_of
from vla_agent.cli.key_value import read_pairs
from vla_agent.errors import OptionError
from vla_agent.leaderboard.suite_names import is_suite

DESCRIPTION = """\
Run a policy on the simulated arm, and report its success rate.

POLICY is a folder that `vla-agent train` wrote, hf://OWNER/NAME of the Hugging Face hub, `expert` (the scripted
expert) or `random`; or a policy on another machine, ws://HOST:PORT of `vla-agent serve` or a YAML file for a server of
openpi (docs/serving.md).
On the same seeds run: the policy, the policy with its instruction shuffled among the scene's valid ones, random
actions, and the expert.  Episode k of a task uses seed S + k; the outcomes do not depend on the number of workers.

--env plays in another environment, such as metaworld; controls that it does not offer are left out and named.

OUT receives report.json (every episode), report.html (for a browser, or a phone) and actions.npz (for replay).
"""
EPILOG = """\
examples:
  vla-agent eval policies/tabletop-nano
  vla-agent eval policies/tabletop-nano --tasks put_in_tray,stack --episodes 50 --seed 1000
  vla-agent eval runs/mine --min-success 0.8 --controls none      # in CI: exit code 1 below that
  vla-agent eval runs/mine --resume                               # continue after Ctrl-C
  vla-agent eval runs/mine --execution realtime --delay-ms 200    # the simulation continues during inference
  vla-agent eval runs/mine --quantise int8                        # success with 8-bit weights
  vla-agent eval ws://gpu:8000 --workers 4                        # `vla-agent serve` runs there
  vla-agent eval runs/mine --episodes 500 --ray auto              # on every machine of a Ray cluster
  vla-agent eval runs/mine --env metaworld --tasks easy           # in another environment: docs/environments.md
  vla-agent eval runs/mine --suite tabletop-1                     # a frozen suite, for a leaderboard
  vla-agent replay runs/eval-mine-tabletop-seen/report.json --episode 3 -o video.mp4

splits: seen (wordings and objects of training, new scenes), wordings (held-out wordings), objects (held-out pairs of
colour and shape).  Ten episodes per task are a first look (9 of 10 means 60 to 98 %); fifty or more a statement.
next: open report.html; `vla-agent replay` makes the video of a failure; add demonstrations of the weakest task.
exit codes: 0 done, 1 below --min-success, 2 bad input
"""
RENAMED = "POLICY'S=SIMULATOR'S, such as top=front"
TASKS_SHOWN = 40  # characters of the tasks' names in the default output folder


def add_parser(subparsers: Any) -> None:
    """Add ``eval`` to the command line."""
    parser = subparsers.add_parser(
        "eval", help="evaluate a policy in simulation", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("policy", metavar="POLICY", help="folder, hf://OWNER/NAME, ws://HOST:PORT, `expert`, `random`")
    add_environment(parser)
    parser.add_argument(
        "--suite",
        default="tabletop",
        help="suite of task families, or the frozen suite tabletop-1 (docs/leaderboard.md; default: tabletop)",
    )
    parser.add_argument(
        "--tasks", help="families, separated by commas, or paths of task files (default: all of the suite)"
    )
    parser.add_argument("--split", default="seen", help="seen, wordings or objects (default: seen)")
    parser.add_argument("--episodes", type=int, default=10, metavar="N", help="episodes per task (default: 10)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of each task's first episode (default: 0)"
    )
    add_workers(parser)
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="output folder (default: runs/eval-POLICY-SUITE[-TASKS]-SPLIT)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the finished episodes in DIR, play the missing ones"
    )
    parser.add_argument(
        "--min-success", type=float, metavar="P", help="exit with 1 where the mean over families is below P (0 to 1)"
    )
    parser.add_argument(
        "--controls",
        default="all",
        help="all, or none: the policy alone; with a frozen suite: blind or shuffled in the policy's place (all)",
    )
    parser.add_argument(
        "--execution", default="open_loop", metavar="MODE", help="open_loop, ensemble, adaptive or realtime (open_loop)"
    )
    parser.add_argument(
        "--delay-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="inference latency, in which the simulation continues; rounded up to steps of 50 ms (default: 0)",
    )
    parser.add_argument(
        "--rename-camera",
        action="append",
        default=[],
        metavar="POLICY'S=SIMULATOR'S",
        help="rename one of the policy's cameras; may be repeated",
    )
    parser.add_argument(
        "--perturb",
        metavar="AXIS:SEVERITY",
        help="a perturbation that the environment of --env offers, in all episodes",
    )
    add_speed(parser)
    parser.set_defaults(run=run)


def add_speed(parser: argparse.ArgumentParser) -> None:
    """Options of how a policy is computed."""
    parser.add_argument(
        "--compile",
        action="store_true",
        dest="compiled",
        help="use torch.compile: a minute or more before the start",
    )
    parser.add_argument(
        "--openvino",
        action="store_true",
        help="use OpenVINO, the fastest on a CPU; ten seconds before the start (extra: openvino)",
    )
    parser.add_argument(
        "--quantise",
        default="",
        metavar="KIND",
        help="weights as int8, or int4 on a GPU; with --openvino matrix products in bf16 or int8 (default: as trained)",
    )


def default_out(args: argparse.Namespace) -> Path:
    """``runs/eval-POLICY-SUITE[-TASKS]-SPLIT``, and the execution mode where it is not the default."""
    where = [args.suite] if args.env == "tabletop" else [short_name(args.env)]
    ends = [args.split] if args.env == "tabletop" else [args.perturb.replace(":", "-")] if args.perturb else []
    parts = ["eval", policy_part(args.policy), *where, *_short_tasks(args.tasks), *ends]
    if args.execution != "open_loop" or args.delay_ms:
        parts.append(f"{args.execution}-{args.delay_ms:g}ms")
    if args.quantise:
        parts.append(args.quantise)
    return Path("runs") / "-".join(parts)


def _short_tasks(tasks: str | None) -> list[str]:
    """The names of ``--tasks`` in a short form that does not depend on their order; [] for the whole suite."""
    if not tasks:
        return []
    given = sorted(task.strip() for task in tasks.split(",") if task.strip())
    names = "+".join(Path(task).stem for task in given)
    if len(names) <= TASKS_SHOWN and not any("/" in task for task in given):
        return [names]
    number = hashlib.sha256(",".join(given).encode()).hexdigest()[:6]
    return [f"{names[:TASKS_SHOWN]}.{number}"]


def _perturbation(text: str | None) -> tuple[str, int] | None:
    axis, colon, severity = (text or "").rpartition(":")
    if not text:
        return None
    if not colon or not axis or not severity.isdigit():
        raise OptionError(
            "the perturbation has the wrong form",
            key="--perturb",
            expected="AXIS:SEVERITY, such as camera:2",
            found=text,
            remedy="vla-agent env show ENV lists its axes",
        )
    return axis, int(severity)


FIXED: dict[str, Any] = {"env": "tabletop", "tasks": None, "split": "seen", "episodes": 10, "seed": 0, "perturb": None}
FIXED |= {"min_success": None, "rename_camera": [], "env_option": []}  # with a frozen suite: the parser's defaults


def _on_suite(args: argparse.Namespace) -> int:
    """Evaluate on a frozen suite, whose episodes nobody chooses; 0."""
    chosen = [f"--{name.replace('_', '-')}" for name, default in FIXED.items() if getattr(args, name) != default]
    if chosen:
        raise OptionError(
            "a frozen suite has its own episodes",
            key=", ".join(chosen),
            expected=f"no such option with --suite {args.suite}",
            found=", ".join(str(getattr(args, name)) for name, d in FIXED.items() if getattr(args, name) != d),
            remedy="leave it out; for other episodes: --suite tabletop",
        )
    if args.controls not in ("all", "none", "blind", "shuffled"):
        raise OptionError(
            "there is no such control",
            key="--controls",
            expected="blind, shuffled, or nothing",
            found=args.controls,
            remedy="docs/leaderboard.md says what they show",
        )
    from vla_agent.evaluation.report.evaluation_console import Progress
    from vla_agent.leaderboard.evaluate_suite import SuiteSettings, evaluate_suite
    from vla_agent.leaderboard.result_page import summary
    from vla_agent.policy.execution_settings import Execution

    control = "" if args.controls in ("all", "none") else args.controls
    named = [f"eval-{policy_part(args.policy)}", args.suite, *([control] if control else [])]
    out = Path(args.out) if args.out else Path("runs") / "-".join(named)
    execution = Execution(args.execution, args.delay_ms, (), args.compiled, args.quantise, args.openvino)
    settings = SuiteSettings(args.policy, args.suite, out, control, execution, workers_of(args), args.ray, args.resume)
    with Progress() as progress:
        result = evaluate_suite(settings, progress.update)
    print(summary(result))
    print(f"result file: {out / 'result.json'}; docs/leaderboard.md says how to enter it")
    return 0


def run(args: argparse.Namespace) -> int:
    """Evaluate; 0, or 1 where the mean success over families is below ``--min-success``."""
    if is_suite(args.suite):
        return _on_suite(args)
    if args.min_success is not None and not 0 <= args.min_success <= 1:
        raise OptionError(
            "the minimum success is not a rate",
            key="--min-success",
            expected="a number from 0 to 1",
            found=args.min_success,
            remedy=f"write {args.min_success / 100:g} for {args.min_success:g} %"
            if args.min_success > 1
            else "0.8, say",
        )
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.evaluation.report.evaluation_console import Progress, print_summary
    from vla_agent.policy.execution_settings import Execution

    renamed = read_pairs(args.rename_camera, "--rename-camera", RENAMED, "vla-agent inspect POLICY --against sim")
    execution = Execution(args.execution, args.delay_ms, renamed, args.compiled, args.quantise, args.openvino)
    out = Path(args.out) if args.out else default_out(args)
    settings = EvaluationSettings(
        args.policy,
        tasks=args.tasks,
        suite=args.suite,
        split=args.split,
        episodes=args.episodes,
        seed=args.seed,
        controls=args.controls,
        execution=execution,
        **run_options(args, out),
        perturbed=_perturbation(args.perturb),
    )
    with Progress() as progress:
        report = evaluate(settings, progress.update)
    print_summary(report, out)
    success = report["summary"]["controls"]["policy"]["mean_over_families"]
    if args.min_success is not None and success < args.min_success:
        print(f"success {success:.3f} is below --min-success {args.min_success:g}", file=sys.stderr)
        return 1
    return 0
