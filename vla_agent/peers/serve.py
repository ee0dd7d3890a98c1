"""Serves a policy of LeRobot with our server.  Runs in LeRobot's environment, created by `make lerobot-check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vla_agent.cli.deploy.serve import Served, add_options, serve
from vla_agent.cli.key_value import read_pairs
from vla_agent.errors import VlaAgentError

DESCRIPTION = """\
Serve a policy of LeRobot (ACT, Diffusion and others) in the protocol of `vla-agent serve`, so that `vla-agent eval`
evaluates it as a peer.  This runs in LeRobot's environment, without MuJoCo or ROS.

FOLDER is the output of lerobot-train: RUN/checkpoints/last/pretrained_model.  It has no units and no rate: they come
from the contract of the dataset that it was trained on.
"""
EPILOG = """\
examples, from the repository:
  .venv-lerobot/bin/python -m vla_agent.peers.serve runs/act/checkpoints/last/pretrained_model --contract datasets/mine
  .venv-lerobot/bin/python -m vla_agent.peers.serve FOLDER --contract datasets/mine --camera front=observation.images.a

exit codes: 0 ended by Ctrl-C or SIGTERM, 2 bad input, 3 ended while an inference hung

next, in our own environment: vla-agent eval ws://127.0.0.1:8000 --episodes 2, or
vla-agent gate ws://127.0.0.1:8000 --policy-files FOLDER --key NAME
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_agent.peers.serve",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="LeRobot's pretrained_model")
    parser.add_argument(
        "--contract",
        required=True,
        metavar="DIR",
        help="dataset (or policy folder of this project) whose contract it has",
    )
    parser.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="NAME=KEY",
        help="camera of the contract = LeRobot's key (default: NAME=observation.images.NAME)",
    )
    parser.add_argument("--device", default="cpu", help="device of torch (default: %(default)s)")
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        return serve(args, lambda: _load(args))
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _load(args: argparse.Namespace) -> Served:
    import torch

    from vla_agent.files.policy_files import read_lerobot_files
    from vla_agent.peers.lerobot_policy import Keys, LeRobotPolicy
    from vla_agent.policy.sources import contract_of

    remedy = "write the contract's camera, an equals sign, LeRobot's key"
    keys = Keys(dict(read_pairs(args.camera, "--camera", "NAME=KEY, such as front=observation.images.top", remedy)))
    policy = LeRobotPolicy(read_lerobot_files(args.folder), contract_of(args.contract), keys, args.device)
    return policy, f"lerobot {args.folder}", policy.files, lambda: torch.set_num_threads(args.threads)


if __name__ == "__main__":
    sys.exit(main())
