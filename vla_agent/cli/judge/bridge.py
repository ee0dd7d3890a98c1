"""``vla-agent bridge``: the success rate on the real robot, from few trials and many simulated episodes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_agent.errors import CertificateError, OptionError, ReportError

if TYPE_CHECKING:
    from vla_agent.evaluation.bridge.simulated_episodes import Simulated

DESCRIPTION = """\
Give the success rate on the real robot an interval, from few real trials and many simulated episodes.  Each trial is
paired with the simulated episode of the same policy, task and scene.  The interval holds for any number of trials and
however biased the simulator is; the better simulated and real outcomes go together, the fewer trials it needs.

TRIALS is a CSV file with the columns task, seed (or scene) and success (1 or 0); policy, the digest of the weights,
where it is signed or there are several policies; simulated, where the simulated outcome is not in a report; note.
A column recording names the bag of each trial (vla-agent up record), which says outcome and policy itself.
"""
EPILOG = """\
examples:
  vla-agent eval runs/mine/policy --seed 5000 --episodes 200 --controls none -o runs/simulated
  vla-agent bridge --plan 60 --simulated runs/simulated -o trials.csv       # which scenes to try; fill in success
  vla-agent bridge trials.csv --simulated runs/simulated -o runs/bridge
  vla-agent bridge trials.csv --simulated runs/a --simulated runs/b -o runs/bridge   # several policies
  vla-agent bridge trials.csv --simulated runs/simulated --certificate runs/gate/certificate.json --sign --key lab
  vla-agent bridge --verify --certificate runs/gate/certificate.json

Choose the scenes before you look at their simulated outcomes (--plan does), and make all trials of the plan.
exit codes: 0 done, 1 below --min-rate or not valid, 2 bad input

next: docs/bridge.md says how many trials are enough; vla-agent verify names the statement beside its certificate
"""
WIDTH = 150  # where there is no terminal


def add_parser(subparsers: Any) -> None:
    """Add ``bridge`` to the command line."""
    parser = subparsers.add_parser("bridge", help="the real success rate", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("trials", metavar="TRIALS", nargs="?", help="CSV file of real trials")
    parser.add_argument(
        "--simulated",
        metavar="DIR",
        action="append",
        default=[],
        help="report (or its folder) of vla-agent eval, or a CSV file; once for each policy",
    )
    parser.add_argument("--plan", type=int, metavar="N", help="write a CSV file with N scenes to try to --out, and end")
    parser.add_argument("-o", "--out", metavar="PATH", help="folder for report.json and report.html (file, of --plan)")
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="of the intervals (%(default)s)")
    parser.add_argument("--min-rate", type=float, metavar="P", help="exit with 1 where a lower limit is below P")
    parser.add_argument("--certificate", metavar="CERT", help="certificate.json of the policy, or its folder")
    parser.add_argument("--sign", action="store_true", help="sign the result as a statement beside the certificate")
    parser.add_argument("--key", default="default", metavar="NAME", help="key to sign with (%(default)s)")
    parser.add_argument("--verify", action="store_true", help="check the statement beside --certificate (or in --out)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan, verify, or give the interval; 0, or 1 where it is below ``--min-rate`` or the statement is not valid."""
    _require_options(args)
    if args.verify:
        return _verify(args)
    from vla_agent.evaluation.bridge.simulated_episodes import read_simulated

    simulated = [read_simulated(Path(path)) for path in args.simulated]
    return _plan(args, simulated) if args.plan is not None else _bridge(args, simulated)


def _require_options(args: argparse.Namespace) -> None:
    """Raise where options are missing, impossible, or do not go together."""
    wanted = {"--certificate": args.certificate} if args.verify else {"--simulated": args.simulated}
    if args.plan is not None:
        wanted["--out"] = args.out
    elif not args.verify:
        wanted["TRIALS"] = args.trials
    if args.sign:
        wanted["--certificate"] = args.certificate
    missing = [key for key, value in wanted.items() if not value]
    if missing:
        raise _impossible(", ".join(missing), "a value", "none")
    for key, value in (("--level", args.level), ("--min-rate", args.min_rate)):
        if value is not None and not 0 < value < 1:
            raise _impossible(key, "above 0, below 1", value)
    if args.level < 0.5 or args.level > 0.99:
        raise _impossible("--level", "0.5 to 0.99", args.level)


def _impossible(key: str, expected: str, found: object) -> OptionError:
    return OptionError("an option is missing or has an impossible value", key=key, expected=expected, found=found,
                       remedy="see vla-agent bridge --help")  # fmt: skip


def _plan(args: argparse.Namespace, simulated: list[Simulated]) -> int:
    from vla_agent.evaluation.bridge.trial_plan import trial_plan
    from vla_agent.files.write_aside import write_text

    if len(simulated) != 1:
        raise _impossible("--simulated", "one policy for --plan", len(simulated))
    out = Path(args.out)
    if out.exists():
        raise _impossible("--out", "a new file: trials that were made are not overwritten", out)
    write_text(out, trial_plan(simulated[0], args.plan))
    print(f"{args.plan} scenes to try: {out}")
    print("next: set up each scene as its seed has it, write 1 or 0 into the column success, and run bridge with it")
    return 0


def _bridge(args: argparse.Namespace, simulated: list[Simulated]) -> int:
    from vla_agent.evaluation.bridge.bridge import bridge
    from vla_agent.evaluation.bridge.bridge_page import page
    from vla_agent.evaluation.bridge.real_trials import parse_trials, read_content
    from vla_agent.evaluation.bridge.recorded_trials import with_recordings
    from vla_agent.files.write_aside import write_text

    file = Path(args.trials)
    content = with_recordings(file, read_content(file))
    trials = parse_trials(file, content)
    report = bridge(file, content, simulated, args.level)
    signed = None
    out = _out(args)
    if args.sign:
        if any(trial.policy is None for trial in trials):
            raise ReportError("the trials do not say which policy was on the robot", file=file, key="column policy",
                              expected="the policy's digest in each row", found="no such column",
                              remedy="vla-agent bridge --plan writes it; add it to the file")  # fmt: skip
        assert out is not None
        signed = _sign(args, out, report, content, simulated[0])
    if out is not None:
        write_text(out / "report.json", json.dumps(report, indent=1) + "\n")
        write_text(out / "report.html", page(report, signed))
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
        if signed:
            print(f"signed: {signed['file']}, statement {signed['id']} beside certificate {signed['certificate']}")
        print(f"page: {out / 'report.html'}" if out else "no page was written: add -o DIR")
    lows = [policy["all"]["interval"][0] for policy in report["policies"]]
    return 1 if args.min_rate is not None and min(lows) < args.min_rate else 0


def _out(args: argparse.Namespace) -> Path | None:
    from vla_agent.gate.real_rate.statement import FOLDER

    if args.out:
        return Path(args.out)
    return _certificate(args).parent / FOLDER if args.certificate else None


def _certificate(args: argparse.Namespace) -> Path:
    path = Path(args.certificate)
    return path / "certificate.json" if path.is_dir() else path


def _sign(
    args: argparse.Namespace, out: Path, report: dict[str, Any], content: bytes, simulated: Simulated
) -> dict[str, Any]:
    """Write evidence, then the statement over it; what the page says of it."""
    from vla_agent.files.write_aside import write_bytes
    from vla_agent.gate.certificate import keys
    from vla_agent.gate.certificate.certificate import read_certificate, require_current, require_signed
    from vla_agent.gate.real_rate.statement import FILE, SIMULATED, TRIALS, real_rate_predicate, write_statement

    folder = keys.keys_folder()
    private = keys.load_private(args.key, folder)
    certificate = read_certificate(_certificate(args))
    require_signed(certificate, keys.trusted(folder))
    require_current(certificate, keys.revoked(folder))
    predicate = real_rate_predicate(report, certificate)
    if (out / FILE).exists():
        raise CertificateError("there is a signed statement already", file=out / FILE, key="--out",
                               expected="a new folder", found="real_rate.json",
                               remedy="name another --out; a statement is never overwritten")  # fmt: skip
    for name, data in ((TRIALS, content), (SIMULATED, simulated.content)):
        write_bytes(out / name, data)
    write_statement(out / FILE, predicate, certificate, private)
    return {"id": predicate["id"], "certificate": certificate.id, "key": args.key, "file": str(out / FILE)}


def _verify(args: argparse.Namespace) -> int:
    from vla_agent.gate.real_rate.statement import FILE
    from vla_agent.gate.real_rate.verify import summary, verify_statement

    out = _out(args)
    assert out is not None
    statement, differences = verify_statement(out / FILE, _certificate(args))
    for difference in differences:
        print(f"differs: {difference}")
    if differences:
        print(f"the statement is not valid: {len(differences)} difference{'s' * (len(differences) > 1)}")
        return 1
    print(f"the statement is valid: {summary(statement)}")
    return 0


def _print(report: dict[str, Any]) -> None:
    """A table for each policy, and what it says."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from vla_agent.evaluation.bridge.bridge import sentence, span

    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    level = report["level"]
    for policy in report["policies"]:
        table = Table(box=None, pad_edge=False)
        for column in ("", "real", "real rate, with simulation", "trials alone", "simulated", "correlation", "worth"):
            table.add_column(column, no_wrap=True)
        for name, row in ({"all": policy["all"]} | policy["tasks"]).items():
            real, simulated = row["real"], row["simulated"]
            table.add_row(
                name.replace("_", " "), f"{real['k']}/{real['n']}", span(row["rate"], row["interval"], level),
                span(real["rate"], real["interval"], level), f"{simulated['k']}/{simulated['n']}",
                "-" if row["correlation"] is None else f"{row['correlation']:+.2f}", f"{row['worth']} trials",
            )  # fmt: skip
        console.print(f"{policy['name']}  {policy['digest'] or '(digest unknown)'}\n")
        console.print(table, soft_wrap=False)
        console.print(f"\n{sentence(policy, level)}")
        if report["order"]["tasks"][policy["name"]]:
            console.print(f"tasks: {_order(report['order']['tasks'][policy['name']])}")
    if report["order"]["policies"]:
        console.print(f"policies: {_order(report['order']['policies'])}")


def _order(order: dict[str, Any]) -> str:
    pearson = "cannot be told" if order["pearson"] is None else f"{order['pearson']:.2f}"
    return f"mean maximum rank violation {order['mmrv']:.3f} over {order['n']}, Pearson's correlation {pearson}"
