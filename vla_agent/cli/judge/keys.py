"""``vla-agent keys``: create, list and trust the keys that sign certificates, and revoke."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Ed25519 keys, and the signed list of what was revoked.  A private key stays where it was made, readable by its owner
alone; its .pub file and the list go to the robots.  Keys are never overwritten, and the list only grows.  They are kept
in $VLA_AGENT_KEYS, or in vla-agent/keys of the user's configuration folder.
"""
EPILOG = """\
examples:
  vla-agent keys create lab                                      # a key pair, and an empty signed list
  vla-agent keys list
  vla-agent keys trust lab.pub --revocations revoked.json        # on the robot
  vla-agent keys revoke runs/gate/certificate.json --reason "camera was moved"
  vla-agent keys revoke lab --reason "the machine was stolen" --key lab2
  vla-agent keys import-revocations revoked.json                 # on the robot, after each change

what can be revoked: a certificate.json, a KEY.pub, a policy folder, the name of a trusted key; or the digits of a
certificate's id, a key's fingerprint, a policy's digest, or a file's SHA-256, whole, or the first 8 or more of one that
is known here

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
    trust.add_argument("--revocations", metavar="FILE", help="take over this revocation list, too")
    revoke = actions.add_parser("revoke", help="revoke a certificate, a key or a policy", epilog=EPILOG)
    revoke.add_argument("what", metavar="ID", help="see below")
    revoke.add_argument("--reason", required=True, metavar="TEXT")
    take = actions.add_parser("import-revocations", help="take over a newer revocation list", epilog=EPILOG)
    take.add_argument("file", metavar="FILE")
    init = actions.add_parser(
        "init-revocations",
        help="make the revocation list where there is none, from that of an older release if there is one",
        epilog=EPILOG,
    )
    for action in (revoke, init):
        action.add_argument("--key", metavar="NAME", help="key that signs the list (default: the one that did before)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the action; 0."""
    from vla_agent.gate.certificate.keys import keys_folder

    actions: dict[str, Callable[[argparse.Namespace, Path], None]] = {
        "create": _create,
        "list": _list,
        "trust": _trust,
        "revoke": _revoke,
        "import-revocations": _import,
        "init-revocations": _init,
    }
    actions[args.action](args, keys_folder())
    return 0


def _create(args: argparse.Namespace, folder: Path) -> None:
    from vla_agent.gate.certificate import keys

    key = keys.create(args.name, folder)
    print(f"{key.name} {key.fingerprint}\nprivate: {folder / key.name}.key\npublic:  {folder / key.name}.pub")
    print(f"revocation list: {folder / 'revoked.json'}; robots need it beside the public key")


def _list(_args: argparse.Namespace, folder: Path) -> None:
    from vla_agent.gate.certificate import keys

    known = keys.trusted(folder)
    if not known:
        print(f"no key is trusted here: {folder}")
        print("next: vla-agent keys create NAME; on a robot: vla-agent keys trust FILE.pub --revocations revoked.json")
        return
    reasons = keys.revoked(folder)
    for key in known.values():
        notes = ["with its private half"] * key.private + ["revoked"] * (key.fingerprint in reasons)
        print(f"{key.fingerprint}  {key.name}" + (f"  ({', '.join(notes)})" if notes else ""))
    for what, reason in reasons.items():
        print(f"revoked {what}: {reason}")


def _trust(args: argparse.Namespace, folder: Path) -> None:
    from vla_agent.gate.certificate import keys

    key = keys.trust(Path(args.file), folder)
    print(f"trusted from now on: {key.name} {key.fingerprint}")
    if args.revocations:
        _take(Path(args.revocations), folder)
    elif not (folder / "revoked.json").exists():
        print("next: vla-agent keys import-revocations FILE; until then every certificate is refused", file=sys.stderr)


def _import(args: argparse.Namespace, folder: Path) -> None:
    _take(Path(args.file), folder)


def _take(file: Path, folder: Path) -> None:
    from vla_agent.gate.certificate.revocations import import_list

    taken = import_list(file, folder)
    print(f"revocation list {taken.counter} of {taken.issued}: {len(taken.revoked)} revoked")


def _revoke(args: argparse.Namespace, folder: Path) -> None:
    from vla_agent.gate.certificate.revocable import resolve
    from vla_agent.gate.certificate.revocations import revoke

    meant = resolve(args.what, folder)
    counter = revoke(meant.identity, args.reason, folder, args.key)
    print(f"revoked: {meant.identity}, {meant.what}\nrevocation list {counter}: {folder / 'revoked.json'}")
    if not meant.known:
        print(
            "note: nothing that is known here has these digits; compare them, or give the file itself", file=sys.stderr
        )
    print("next: on each robot, vla-agent keys import-revocations FILE with this list")


def _init(args: argparse.Namespace, folder: Path) -> None:
    from vla_agent.gate.certificate.revocable import take_over

    taken = take_over(folder, args.key)
    print(f"revocation list {taken.counter}: {len(taken.revoked)} revoked: {folder / 'revoked.json'}")
