"""One function that loads a policy by its name: folder, adapter, hub id or server.

==========================  =======================================================
name                        policy
==========================  =======================================================
folder with policy.json     the policy in it (`vla_agent.policy.checkpoint`)
folder with adapter.json    its base with the adapter merged in
folder with export.json     the exported policy in it (`vla_agent.export`), without torch
folder of a training run    the policy inside it
hf://OWNER/NAME             of the Hugging Face hub, downloaded once
ws://HOST:PORT              on another machine (`vla_agent.serving`)
file.yaml                   behind a server of openpi, as the file describes
==========================  =======================================================
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.files.policy.closed_list import EXPORTED
from vla_agent.files.policy_files import read_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.policy.sources import contract_of, is_remote, is_server, require_packages


def load_policy(
    name: str | PathLike[str],
    compiled: bool = False,
    quantise: str = "",
    openvino: bool = False,
    expected: str | None = None,
) -> Any:
    """The policy of this name.  A server's token is read from the variable VLA_AGENT_TOKEN.

    Every file is read once: ``files`` of a policy from a folder (name -> SHA-256) are those that it was made of, and
    ``digest`` is the SHA-256 over them.  Nothing in a folder is ever executed.

    Args:
        compiled: with ``torch.compile``: faster chunks after a minute of compilation (`vla_agent.policy.speed`).
        quantise: ``int8`` or ``int4`` weights; empty: as they were trained.
        openvino: with OpenVINO, on a CPU.
        expected: the digest that the files must have; of a server, those that it states.

    Raises:
        CheckpointError: the folder is missing, incomplete, damaged, holds other files than a policy's, has another
            digest than ``expected``, or its statistics are unusable.
        ContractError: its contract cannot be read.
        ServingError: no server listens at the address.
        OptionError: this machine does not support the acceleration.
    """
    policy = _remote(str(name), expected) if is_remote(str(name)) else _local(find_folder(name), expected)
    if not (compiled or quantise or openvino):
        return policy
    from vla_agent.policy.speed.accelerate import accelerate

    return accelerate(policy, compiled, quantise, openvino)


def _local(folder: Path, expected: str | None) -> Any:
    files = read_policy_files(folder)
    files.require(expected)
    if files.kind == EXPORTED.kind:
        from vla_agent.export.exported.exported_policy import exported_from

        return exported_from(files)
    if files.base is not None:
        from vla_agent.adapters.adapter_folder import adapted_from

        return adapted_from(files)
    from vla_agent.policy.checkpoint import policy_from

    return policy_from(files)


def _remote(name: str, expected: str | None) -> Any:
    require_packages()
    from vla_agent.serving.tokens import read_token

    if is_server(name):
        from vla_agent.serving.remote_policy import RemotePolicy

        return RemotePolicy(name, read_token(None), expected=expected)
    from vla_agent.serving.openpi import OpenPiPolicy, read_description

    description = read_description(Path(name))
    return OpenPiPolicy(description, contract_of(description.contract), read_token(None))
