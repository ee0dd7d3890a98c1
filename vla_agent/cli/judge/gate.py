"""``vla-agent gate``: the evidence from simulation that a policy needs before it may move a robot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vla_agent.cli.environment_options import add_environment, policy_part, short_name
from vla_agent.cli.judge.worker_options import add_workers, run_options, workers_of
from vla_agent.errors import OptionError

SIMULATED_ENVIRONMENT = "tabletop"  # the one that certificates are of
SIMULATED = "sim"  # the robot of certificates that move no hardware

DESCRIPTION = """\
Test a policy against a gate file: tasks, perturbations, language and latency, each with a threshold and error rates.
Every check stops as soon as it is decided.  OUT receives report.html, report.json, actions.npz, gate.yaml, ledger.jsonl
and the signed certificate.json, without which the robot's nodes refuse the policy.

Every start is counted in a ledger, and later attempts with the same checkpoint are held to stricter tests.  The ledger
is ledger.jsonl in the folder of the keys; its lines are signed.  The seeds follow from policy, gate file and the line
of the ledger, so that nobody knows them before the attempt is counted.

A policy behind a server (docs/serving.md) is tried through it; --policy-files names the folder that it has loaded,
whose files the certificate binds.
"""
EPILOG = """\
examples:
  vla-agent keys create lab
  vla-agent gate policies/tabletop-nano --key lab --robot panda -o runs/gate
  vla-agent gate policies/tabletop-nano --key lab --robot panda -o runs/gate --resume
  vla-agent gate runs/tuned/policy --key lab --base runs/base/policy -o runs/gate-tuned
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano
  vla-agent gate --explain runs/gate/certificate.json
  vla-agent gate ws://127.0.0.1:8000 --policy-files runs/act/checkpoints/last/pretrained_model --key lab

In another environment only success is judged, by the same sequential test, and no certificate is written:
  vla-agent gate runs/mine --env metaworld --tasks easy --above 0.8

docs/gate.md says what is measured and how the verdict is made.  gates/smoke.yaml takes seconds: for trying out only.
exit codes: 0 passed, 1 did not pass, 2 bad input

next: vla-agent verify CERTIFICATE --policy POLICY, then give the certificate to the robot's nodes
"""


def add_parser(subparsers: Any) -> None:
    """Add ``gate`` to the command line."""
    parser = subparsers.add_parser("gate", help="certify a policy", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "policy", metavar="POLICY", nargs="?", help="folder, hf://OWNER/NAME, ws://HOST:PORT, `expert` or `random`"
    )
    parser.add_argument(
        "--policy-files", metavar="DIR", type=Path, help="of a policy behind a server: the folder that it has loaded"
    )
    parser.add_argument("--suite", default="gates/tabletop.yaml", metavar="FILE", help="gate file (%(default)s)")
    parser.add_argument("-o", "--out", metavar="DIR", help="where the evidence goes (default: runs/gate-POLICY)")
    parser.add_argument("--key", default="default", metavar="NAME", help="key to sign with (default: default)")
    parser.add_argument(
        "--robot",
        default=SIMULATED,
        metavar="NAME",
        help="robot that the certificate is for: its robot file, or the name of one, such as panda; the default, sim, "
        "moves no robot",
    )
    parser.add_argument(
        "--ledger", metavar="FILE", help="ledger of attempts (default: ledger.jsonl in the folder of the keys)"
    )
    parser.add_argument(
        "--base",
        metavar="POLICY",
        help="the policy that this one was tuned from: its unperturbed episodes are played on the same seeds, too, and "
        "compared on the page",
    )
    parser.add_argument(
        "--explain",
        metavar="CERT",
        help="say in ten lines what a certificate.json promises and what not; no gate is run",
    )
    add_environment(parser)
    parser.add_argument("--tasks", metavar="A,B", help="tasks or groups of --env (default: all)")
    parser.add_argument(
        "--above", type=float, default=0.8, metavar="P", help="success to be shown in --env (%(default)s)"
    )
    parser.add_argument(
        "--margin", type=float, default=0.1, metavar="D", help="how far above it suffices (%(default)s)"
    )
    add_workers(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished gate in DIR")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the gate; 0 where the policy passed, 1 where it did not."""
    if args.explain:
        return _explain(Path(args.explain))
    if args.policy is None:
        raise OptionError(
            "it is not said which policy is to be tried",
            key="POLICY",
            expected="a policy folder, hf://OWNER/NAME, expert or random",
            found="none",
            remedy="vla-agent gate POLICY --key NAME, or vla-agent gate --explain CERTIFICATE",
        )
    if args.env != SIMULATED_ENVIRONMENT:
        return _in_environment(args)
    robot, robot_file = _robot(args.robot)
    workers = workers_of(args)
    from vla_agent.files.shipped import find_shipped
    from vla_agent.gate.certificate.keys import default_ledger, keys_folder, trusted
    from vla_agent.gate.certificate.revocations import load_signing_key
    from vla_agent.gate.report.gate_console import Progress, print_summary
    from vla_agent.gate.run_gate import GateSettings, run_gate

    private = load_signing_key(args.key, keys_folder())
    suite = find_shipped(args.suite)
    out = Path(args.out) if args.out else Path("runs") / f"gate-{policy_part(args.policy)}"
    ledger_file = Path(args.ledger) if args.ledger else default_ledger()
    settings = GateSettings(
        args.policy,
        suite,
        out,
        robot=robot,
        robot_file=robot_file,
        private=private,
        trusted=trusted(keys_folder()),
        ledger_file=ledger_file,
        workers=workers,
        ray=args.ray,
        resume=args.resume,
        base=args.base,
        policy_files=args.policy_files,
    )
    with Progress() as progress:
        progress.announce_ledger(ledger_file)
        report = run_gate(settings, progress.update)
    print_summary(report, out, ledger_file)
    return 0 if report["summary"]["judgement"]["verdict"] == "pass" else 1


def _in_environment(args: argparse.Namespace) -> int:
    """Show success in another environment; 0 where it was shown, else 1."""
    if args.robot != SIMULATED or args.base or args.policy_files:
        raise OptionError(
            "no certificate follows from another environment",
            key="--robot, --base, --policy-files",
            expected="none of them, with --env",
            found=args.robot if args.robot != SIMULATED else args.base or args.policy_files,
            remedy="run the gate on the tabletop for a certificate; leave them out to show success in ENV",
        )
    from vla_agent.evaluation.evaluate import EvaluationSettings
    from vla_agent.evaluation.report.evaluation_console import Progress, print_summary
    from vla_agent.gate.success_in_environment import Demand, sentence, show_success

    out = Path(args.out) if args.out else Path("runs") / f"gate-{policy_part(args.policy)}-{short_name(args.env)}"
    settings = EvaluationSettings(args.policy, args.tasks, **run_options(args, out))
    with Progress() as progress:
        report = show_success(settings, Demand(args.above, args.margin), progress.update)
    print_summary(report, out)
    print(sentence(report))
    return 0 if report["summary"]["success_test"]["verdict"] == "pass" else 1


def _robot(given: str) -> tuple[str, str]:
    """Name of the robot, and SHA-256 of its robot file; empty for the simulated one."""
    from vla_agent.robot.description import read_robot

    if given == SIMULATED:
        return SIMULATED, ""
    robot, robot_file = read_robot(given)
    return robot.name, robot_file


def _explain(file: Path) -> int:
    from vla_agent.gate.certificate.explanation import explain
    from vla_agent.gate.certificate.keys import keys_folder

    print("\n".join(explain(file, keys_folder())))
    return 0
