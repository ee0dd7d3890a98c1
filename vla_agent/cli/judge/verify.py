"""``vla-agent verify``: check a certificate against everything that it binds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Hash the policy, the simulator, the gate file and the evidence again, compute every count and the verdict again from the
episodes, check the signature, the time and the list of what was revoked, and name whatever differs.
"""
EPILOG = """\
examples:
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano
  vla-agent verify runs/gate/certificate.json --policy policies/tabletop-nano --ledger gates/ledger.jsonl --replay 10

exit codes: 0 it holds, 1 it does not, 2 bad input

next: `vla-agent up robot` with the certificate; docs/gate.md says what it does not promise
"""


def add_parser(subparsers: Any) -> None:
    """Add ``verify`` to the command line."""
    parser = subparsers.add_parser("verify", help="check a certificate", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("certificate", metavar="CERT", help="certificate.json, with its evidence beside it")
    parser.add_argument("--policy", metavar="DIR", help="policy folder or hub id (none for a scripted policy)")
    parser.add_argument("--ledger", metavar="FILE", help="ledger in which the attempt must stand")
    parser.add_argument(
        "--replay", type=int, default=0, metavar="N", help="play N random episodes again, bit for bit (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the choice of episodes (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; 0 where the certificate holds, 1 where something differs."""
    from vla_agent.files.policy_folder import find_folder
    from vla_agent.gate.certificate.certificate import read_certificate
    from vla_agent.gate.certificate.verify import replay_sample, verify

    file = Path(args.certificate)
    folder = find_folder(args.policy) if args.policy else None
    changes = verify(file, folder, ledger=Path(args.ledger) if args.ledger else None)
    if args.replay > 0 and not changes:
        name = str(folder) if folder else str(read_certificate(file).payload["policy"]["name"])
        changes = replay_sample(file, name, args.replay, args.seed)
    for change in changes:
        print(f"differs: {change}")
    if changes:
        print(f"the certificate does not hold: {len(changes)} differences")
        return 1
    payload = read_certificate(file).payload
    print(f"the certificate holds: verdict {payload['verdict']}, robot {payload['robot']}, until {payload['expires']}")
    return 0
