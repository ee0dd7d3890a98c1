"""``vla-agent serve``: a policy behind a websocket, for simulators and robots on other machines."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla_agent.cli.judge.eval import add_speed
from vla_agent.errors import OptionError

# The policy, its name and files (name -> SHA-256) for clients, and what its thread does first.
Served = tuple[Any, str, dict[str, str], Callable[[], Any]]

DESCRIPTION = """\
Serve a policy over a websocket, in the protocol of openpi's client: msgpack, never pickle.  The server first sends the
policy's contract, which our client checks.  Without a token only clients on this machine can connect.

POLICY is a folder that `vla-agent train` wrote, hf://OWNER/NAME of the Hugging Face hub, or `random` (to try it).
"""
EPILOG = """\
examples:
  vla-agent serve policies/tabletop-nano
  vla-agent eval ws://127.0.0.1:8000 --episodes 2               # in another terminal

  vla-agent serve policies/tabletop-nano --openvino             # about half the inference time on a CPU
  umask 077; python -c "import secrets; print(secrets.token_urlsafe(32))" > token
  vla-agent serve policies/tabletop-nano --host 0.0.0.0 --token-file token
  VLA_AGENT_TOKEN=$(cat token) vla-agent eval ws://gpu:8000     # from another machine that has the token

http://HOST:PORT/healthz answers 200, or 503 where an inference hangs.  The token and the images are not
encrypted: between machines, use a tunnel (ssh -L) or a proxy with TLS (then wss://HOST).
exit codes: 0 ended by Ctrl-C or SIGTERM, 2 bad input, 3 ended while an inference hung

next: `vla-agent eval ws://HOST:PORT`, `vla-agent up sim --policy ws://HOST:PORT`; docs/serving.md has the protocol
"""


def add_parser(subparsers: Any) -> None:
    """Add ``serve`` to the command line."""
    parser = subparsers.add_parser("serve", help="serve a policy", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("policy", metavar="POLICY", help="policy folder, hf://OWNER/NAME, or `random`")
    add_options(parser)
    add_speed(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server of any policy."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: %(default)s)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="token that clients must send (default: VLA_AGENT_TOKEN)"
    )
    parser.add_argument(
        "--clients", type=int, default=8, metavar="N", help="clients at the same time (default: %(default)s)"
    )
    parser.add_argument(
        "--waiting",
        type=int,
        default=1,
        metavar="N",
        help="pending observations of a client; then the oldest is dropped (default: %(default)s)",
    )
    parser.add_argument(
        "--max-mb", type=float, default=16.0, metavar="MB", help="maximal size of a message (default: %(default)g)"
    )
    parser.add_argument(
        "--idle", type=float, default=600.0, metavar="S", help="seconds until a silent client is disconnected"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="torch's threads; 1 gives the same bits as evaluation (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    return serve(args, lambda: _load(args.policy, args))


def serve(args: argparse.Namespace, load: Callable[[], Served]) -> int:
    """Serve the policy of ``load`` until Ctrl-C or SIGTERM; ``args`` are those of `add_options`."""
    for name, least in (("port", 0), ("clients", 1), ("waiting", 1), ("max_mb", 0.001), ("idle", 1), ("threads", 1)):
        if not least <= getattr(args, name) <= 65535:
            raise OptionError(
                "an option has an invalid value",
                key=f"--{name.replace('_', '-')}",
                expected=f"{least:g} to 65535",
                found=getattr(args, name),
                remedy="see vla-agent serve --help",
            )
    from vla_agent.policy.sources import require_packages

    require_packages()
    from vla_agent.serving.server import PolicyServer
    from vla_agent.serving.server_limits import Limits
    from vla_agent.serving.tokens import read_token

    token = read_token(args.token_file)
    policy, name, files, prepare = load()
    limits = Limits(int(args.max_mb * 2**20), args.clients, args.waiting, args.idle)
    server = PolicyServer(policy, name, args.host, args.port, token, limits, files, prepare)
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    server.start()
    access = "a token is required" if token else "without a token, for this machine only"
    print(f"serving {name} at {server.url}, {access}; Ctrl-C stops it", flush=True)
    end.wait()
    print("stopping", flush=True)
    server.stop()
    if not server.healthy:  # the thread that hangs would keep the process alive
        print("an inference hung", file=sys.stderr, flush=True)
        os._exit(3)
    return 0


def _load(name: str, args: argparse.Namespace) -> Served:
    if name == "random":
        from dataclasses import replace

        from sim.policies import RandomPolicy
        from vla_agent.contract.tabletop import tabletop_contract

        policy: Any = RandomPolicy()
        policy.contract = replace(tabletop_contract(), chunk_length=policy.execute)
        return policy, name, {}, lambda: None
    import torch

    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(args.threads)  # also here: compiled code is specialised to their number
    quantise = args.quantise
    policy = load_policy(name, compiled=args.compiled, quantise=quantise, openvino=args.openvino)
    files = dict(policy.files)  # what was loaded, whatever lies in the folder by now
    if quantise:  # a report names it, and the certificate of the original weights does not cover it
        files["weights as"] = quantise
        name = f"{name}, weights as {quantise}"
    return policy, name, files, lambda: torch.set_num_threads(args.threads)
