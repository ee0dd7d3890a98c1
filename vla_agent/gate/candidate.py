"""What a gate tries: a policy as it was when the gate began, by its files, its contract and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sim.policies import Policy
from vla_agent.contract import Contract
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import OptionError
from vla_agent.evaluation.play.player import SCRIPTED, load_learned
from vla_agent.files.canonical_json import digest
from vla_agent.files.policy_files import hash_policy_files, hash_served_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.gate.certificate.bound_files import policy_contract, policy_parts, served_parts
from vla_agent.policy.sources import is_server, metadata_of


@dataclass(frozen=True)
class Candidate:
    """A policy that is tried.

    Attributes:
        parts: as the certificate names them.
        learned: whether it has an inference, whose latency counts.
        load: makes the policy of a name; others than the files in ``parts`` are refused.
        read_files: the files again, name -> SHA-256, as they are now; of a scripted policy none.
        served: whether another program computes it.
    """

    name: str
    parts: dict[str, Any]
    contract: Contract
    learned: bool
    load: Callable[[str], Policy]
    read_files: Callable[[], dict[str, str]] = dict
    served: bool = False


def find_candidate(
    name: str, load: Callable[..., Policy] = load_learned, policy_files: Path | None = None
) -> Candidate:
    """Read what is tried.

    Args:
        name: folder or hub name of a learned policy, address of a server, "expert" or "random".
        load: `load_learned`, or another way to make a policy, which is then no learned one.
        policy_files: folder of the files that the server serves; of a server only.

    Raises:
        OptionError: a server without ``policy_files``, or these without a server.
        VlaAgentError: the policy cannot be read, or the server serves other files.
    """
    require_files_of_served(name if is_server(name) else "", policy_files)
    if policy_files is not None:
        return _served(name, policy_files)
    if name in SCRIPTED or load is not load_learned:
        parts = {"name": name, "files": {}, "adapter": [], "normaliser": "", "digest": digest(name)}
        return Candidate(name, parts, tabletop_contract(), False, load)
    folder = find_folder(name)
    files = hash_policy_files(folder)
    parts = {"name": folder.name} | policy_parts(files)
    loader = partial(load_learned, expected=files.digest)
    return Candidate(name, parts, policy_contract(files), True, loader, lambda: hash_policy_files(folder).hashes)


def require_files_of_served(server: str, policy_files: Path | None) -> None:
    """Check that a folder is named exactly where the policy is served.

    Args:
        server: its address; empty: the policy is not served.

    Raises:
        OptionError: a server without a folder, or a folder without a server.
    """
    if bool(server) == (policy_files is not None):
        return
    raise OptionError(
        "a certificate binds the files of a served policy, which must lie here, too",
        key="--policy-files",
        expected="the folder that the server has loaded" if server else "nothing, of a policy that is not served",
        found=policy_files or "nothing",
        remedy=f"{server} --policy-files DIR" if server else "leave --policy-files out",
    )


def _served(url: str, folder: Path) -> Candidate:
    served = metadata_of(url)
    parts = {"name": served.policy} | served_parts(served, folder, url)
    loader = partial(load_learned, expected=parts["digest"])

    def read_files() -> dict[str, str]:
        here, there = hash_served_files(folder).hashes, dict(metadata_of(url).files)
        return there | here if there == parts["files"] else there

    return Candidate(url, parts, served.contract, True, loader, read_files, served=True)
