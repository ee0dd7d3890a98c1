"""``vla-agent verify``: check a certificate against everything that it binds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Hash the policy, the simulator, the gate file and the evidence again, compute every count and the verdict again from the
episodes, check signature, validity and revocation, and name each difference.
"""
EPILOG = """\
examples:
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano --replay 10
  vla-agent verify runs/gate/certificate.json --policy DIR --ledger ~/.config/vla-agent/keys/ledger.jsonl

exit codes: 0 valid, 1 not valid, 2 bad input

next: `vla-agent up robot` with the certificate; docs/gate.md says what a certificate does not promise
"""


def add_parser(subparsers: Any) -> None:
    """Add ``verify`` to the command line."""
    parser = subparsers.add_parser("verify", help="check a certificate", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("certificate", metavar="CERT", help="certificate.json, with its evidence beside it")
    parser.add_argument("--policy", metavar="DIR", help="policy folder or hub id (none for a scripted policy)")
    parser.add_argument("--ledger", metavar="FILE", help="ledger that must contain the attempt")
    parser.add_argument(
        "--replay", type=int, default=0, metavar="N", help="replay N random episodes, bit for bit (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the choice of episodes (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; 0 where the certificate is valid, 1 where something differs."""
    from vla_agent.evaluation.result_store import read_report
    from vla_agent.files.policy_folder import find_folder
    from vla_agent.gate.certificate.certificate import read_certificate
    from vla_agent.gate.certificate.verify import replay_sample, verify
    from vla_agent.gate.report.wording import latency_refusal, strength_of_evidence

    file = Path(args.certificate)
    folder = find_folder(args.policy) if args.policy else None
    differences = verify(file, folder, ledger=Path(args.ledger) if args.ledger else None)
    if args.replay > 0 and not differences:
        name = str(folder) if folder else str(read_certificate(file).payload["policy"]["name"])
        differences = replay_sample(file, name, args.replay, args.seed)
    for difference in differences:
        print(f"differs: {difference}")
    if differences:
        print(f"the certificate is not valid: {len(differences)} differences")
        return 1
    payload, report = read_certificate(file).payload, read_report(file.with_name("report.json"))
    print(
        f"the certificate is valid: verdict {payload['verdict']}, robot {payload['robot']}, until {payload['expires']}"
    )
    if args.replay > 0:
        print(f"  {min(args.replay, len(report['episodes']))} episodes replayed, bit for bit the same")
    if args.ledger:
        print(f"  the attempt is in the ledger {args.ledger}")
    for line in (f"success {strength_of_evidence(report['summary']['judgement'])}", latency_refusal(report)):
        if line:
            print(f"  {line}")
    return 0
