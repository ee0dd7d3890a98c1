"""``vla-agent keys``: create, list and trust the keys that sign certificates, and revoke."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Ed25519 keys.  A private key stays where it was made, readable by its owner alone; its .pub file goes to the robots,
where `keys trust` takes it.  Keys are never overwritten.  They are kept in $VLA_AGENT_KEYS, or in vla-agent/keys of the
user's configuration folder.
"""
EPILOG = """\
examples:
  vla-agent keys create lab
  vla-agent keys list
  vla-agent keys trust lab.pub                                   # on the robot
  vla-agent keys revoke 3f0c... --reason "camera was moved"      # a certificate's id, a key, or a policy's digest

next: vla-agent gate POLICY --suite gates/tabletop.yaml -o DIR signs with the key
"""


def add_parser(subparsers: Any) -> None:
    """Add ``keys`` to the command line."""
    parser = subparsers.add_parser("keys", help="keys for certificates", description=DESCRIPTION, epilog=EPILOG)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key pair", epilog=EPILOG)
    create.add_argument("name", metavar="NAME")
    actions.add_parser("list", help="the keys that are trusted on this machine, and what was revoked")
    trust = actions.add_parser("trust", help="trust a public key", epilog=EPILOG)
    trust.add_argument("file", metavar="FILE")
    revoke = actions.add_parser("revoke", help="revoke a certificate, a key or a policy", epilog=EPILOG)
    revoke.add_argument("what", metavar="ID", help="certificate's id, key's fingerprint or policy's digest")
    revoke.add_argument("--reason", required=True, metavar="TEXT")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the action; 0."""
    from vla_agent.gate.certificate import keys

    folder = keys.keys_folder()
    if args.action == "create":
        key = keys.create(args.name, folder)
        print(f"{key.name} {key.fingerprint}\nprivate: {folder / key.name}.key\npublic:  {folder / key.name}.pub")
    elif args.action == "trust":
        key = keys.trust(Path(args.file), folder)
        print(f"trusted from now on: {key.name} {key.fingerprint}")
    elif args.action == "revoke":
        keys.revoke(args.what, args.reason, folder)
        print(f"revoked: {args.what}")
    else:
        for key in keys.trusted(folder).values():
            print(f"{key.fingerprint}  {key.name}{'  (with its private half)' if key.private else ''}")
        for what, reason in keys.revoked(folder).items():
            print(f"revoked {what}: {reason}")
    return 0
