"""``vla-agent verify``: check a certificate against everything that it binds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vla_agent.gate.recheck.difference import Difference

DESCRIPTION = """\
Hash the policy, the simulator, the gate file and the evidence again; compute the attempt from the ledger, the plan of
episodes from their outcomes, every count, interval and the verdict again; check signature, validity and revocation; and
replay some episodes, while the policy says what it would have done itself.  Each difference is named.
"""
EPILOG = """\
examples:
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano --replay 20
  vla-agent verify runs/act-gate/certificate.json --policy ws://127.0.0.1:8000 --policy-files DIR
  vla-agent verify runs/gate/certificate.json --policy DIR --ledger ~/.config/vla-agent/keys/ledger.jsonl

A replay needs the same simulator, MuJoCo and renderer; --replay 0 leaves it out.
exit codes: 0 valid, 1 not valid, 2 bad input

next: `vla-agent up robot` with the certificate; docs/gate.md says what a certificate does not promise
"""
REPLAYED = 3
CERTIFICATE = "certificate.json"


def add_parser(subparsers: Any) -> None:
    """Add ``verify`` to the command line."""
    parser = subparsers.add_parser("verify", help="check a certificate", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "certificate", metavar="CERT", help="certificate.json, with its evidence beside it, or its folder"
    )
    parser.add_argument(
        "--policy", metavar="DIR", help="policy folder, hf://OWNER/NAME, ws://HOST:PORT, `expert` or `random`"
    )
    parser.add_argument(
        "--policy-files", metavar="DIR", type=Path, help="of a policy behind a server: the folder that it has loaded"
    )
    parser.add_argument(
        "--ledger",
        metavar="FILE",
        help="ledger that must contain the attempt (default: the copy beside the certificate, else that of this "
        "machine's keys)",
    )
    parser.add_argument(
        "--replay",
        type=int,
        default=REPLAYED,
        metavar="N",
        help="replay N random episodes, bit for bit, and ask the policy at each step (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="seed of the choice of episodes (default: another each time, printed)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; 0 where the certificate is valid, 1 where something differs."""
    import secrets

    from vla_agent.evaluation.play.player import SCRIPTED
    from vla_agent.evaluation.result_store import read_report
    from vla_agent.gate.certificate.certificate import read_certificate
    from vla_agent.gate.certificate.keys import keys_folder
    from vla_agent.gate.certificate.verify import ledger_of, replay_sample, verify
    from vla_agent.gate.report.wording import headline, latency_refusal, strength_of_evidence

    file, count = Path(args.certificate), max(0, args.replay)
    file = file / CERTIFICATE if file.is_dir() else file
    scripted = args.policy if args.policy in SCRIPTED else None
    server, folder = _policy(args, scripted is not None)
    ledger_file = Path(args.ledger) if args.ledger else ledger_of(file, keys_folder())
    seed = secrets.randbelow(2**32) if args.seed is None else args.seed
    differences = verify(file, folder, ledger=ledger_file, server=server)
    if scripted and not differences:
        differences = _other_name(scripted, str(read_certificate(file).payload["policy"]["name"]))
    if count and not differences:
        name = server or str(folder or "") or str(read_certificate(file).payload["policy"]["name"])
        differences = replay_sample(file, name, count, seed)
    for difference in differences:
        print(f"differs: {difference}")
    if differences:
        print(f"the certificate is not valid: {len(differences)} difference{'s' * (len(differences) > 1)}")
        return 1
    payload, report = read_certificate(file).payload, read_report(file.with_name("report.json"))
    judgement, robot = report["summary"]["judgement"], payload["robot"]["name"]
    print(f"the certificate is valid: verdict {payload['verdict']}, robot {robot}, until {payload['expires']}")
    count = min(count, len(report["episodes"]))
    replayed = f"{count} episodes replayed, bit for bit the same, as the policy itself acts (--seed {seed})"
    print(f"  {replayed if count else 'no episode was replayed: add --replay N'}")
    print(f"  the attempt is number {payload['attempt']['number']} of this policy in the ledger {ledger_file}")
    for line in (headline(judgement), strength_of_evidence(judgement), latency_refusal(report)):
        if line:
            print(f"  {line}")
    return _statement_beside(file)


def _policy(args: argparse.Namespace, scripted: bool) -> tuple[str, Path | None]:
    """The policy's server, empty where it is not served, and the folder of its files, None where it has none."""
    from vla_agent.files.policy_folder import find_folder
    from vla_agent.gate.candidate import require_files_of_served
    from vla_agent.policy.sources import is_server

    server = args.policy if args.policy and is_server(args.policy) else ""
    require_files_of_served(server, args.policy_files)
    if server:
        return server, args.policy_files
    return "", find_folder(args.policy) if args.policy and not scripted else None


def _statement_beside(file: Path) -> int:
    """Name the statement of the real rate that lies beside the certificate, if any; 1 where it is not valid."""
    from vla_agent.gate.real_rate.statement import FILE, FOLDER
    from vla_agent.gate.real_rate.verify import summary, verify_statement

    statement_file = file.parent / FOLDER / FILE
    if not statement_file.exists():
        return 0
    statement, differences = verify_statement(statement_file, file)
    for difference in differences:
        print(f"differs: {difference}")
    valid = "is not valid, which does not touch the certificate" if differences else f"is valid: {summary(statement)}"
    print(f"  the statement {statement_file} {valid}")
    return 1 if differences else 0


def _other_name(given: str, certified: str) -> list[Difference]:
    """The difference between the names of two scripted policies; [] where there is none."""
    from vla_agent.gate.recheck.difference import Difference

    return [] if given == certified else [Difference("policy.name", certified, given)]
