"""SHA-256 of everything that a certificate binds, file by file, so that each change can be named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError, GateError
from vla_agent.files.canonical_json import changes, digest
from vla_agent.files.hashing import hash_file
from vla_agent.files.policy.closed_list import MANIFEST
from vla_agent.files.policy_files import PolicyFiles, hash_policy_files, hash_served_files, read_policy_file
from vla_agent.policy import sources
from vla_agent.serving.protocol_messages import SERVED_WITH, Metadata

SIMULATOR = Path(__file__).resolve().parents[3] / "sim"  # not imported: a server of hashes needs no MuJoCo
PACKAGE_ROOMS = ("robot/kinematics", "policy/execution", "contract")  # what `sim` imports of this package


def policy_files(folder: Path | PolicyFiles) -> dict[str, str]:
    """Every file of a policy that a loader reads, an adapter's base included: name -> SHA-256.

    Raises:
        CheckpointError: as `vla_agent.files.policy_files.read_policy_files`.
    """
    return _read(folder).hashes


def policy_parts(folder: Path | PolicyFiles) -> dict[str, Any]:
    """Hashes of ``files``; names of ``adapter`` files; hash of the ``normaliser``; ``digest`` of all files.

    Args:
        folder: a policy's or an adapter's, which is read; or what was read of it.

    Raises:
        CheckpointError: as `policy_files`.
    """
    found = _read(folder)
    return {
        "files": found.hashes,
        "adapter": adapter_files(found.hashes),
        "normaliser": _normaliser(found.policy),
        "digest": found.digest,
    }


def served_parts(served: Metadata, folder: Path, server: str) -> dict[str, Any]:
    """As `policy_parts`, of a policy behind a server, whose files lie in ``folder``, too.

    Beside the hashes of these files the server states that of what it serves them with (`SERVED_WITH`): program and
    settings.  All of it is bound.

    Raises:
        CheckpointError: as `vla_agent.files.policy_files.hash_served_files`.
        GateError: the server states other files, or none.
    """
    found = hash_served_files(folder)
    stated = {name: sha256 for name, sha256 in served.files.items() if name != SERVED_WITH}
    for key, here, there in changes(found.hashes, stated):
        raise GateError(
            "the server serves other files than those of the folder",
            file=folder,
            key=key,
            expected=here,
            found=f"{there}, by {server}",
            remedy="name the folder that the server has loaded, or serve this one",
        )
    files = dict(served.files)
    own = "policy.json" in found.policy
    normaliser = _normaliser(found.policy) if own else "in files"
    return {"files": files, "adapter": adapter_files(files), "normaliser": normaliser, "digest": digest(files)}


def _read(folder: Path | PolicyFiles) -> PolicyFiles:
    return folder if isinstance(folder, PolicyFiles) else hash_policy_files(folder)


def adapter_files(files: Iterable[str]) -> list[str]:
    """Those of a policy's files that belong to an adapter."""
    return sorted(name for name in files if Path(name).name.startswith("adapter"))


def _normaliser(files: PolicyFiles) -> str:
    """SHA-256 of the normalisers' tensors, "in files" of an exported policy, or "unreadable"."""
    from safetensors import SafetensorError, safe_open

    if MANIFEST in files:  # of an exported policy: inside its graphs
        return "in files"
    sha = hashlib.sha256()
    try:
        with safe_open(files.path("head.safetensors"), framework="numpy") as tensors:
            for name in sorted(k for k in tensors.keys() if "normaliser" in k):  # noqa: SIM118 - not a mapping
                sha.update(name.encode() + tensors.get_tensor(name).tobytes())
    except (OSError, SafetensorError, TypeError, CheckpointError):
        return "unreadable"
    return sha.hexdigest()


def policy_contract(folder: Path | PolicyFiles) -> Contract:
    """The contract inside a policy folder, or of what was read of one.

    Raises:
        CheckpointError: no policy.json, or it cannot be read.
        ContractError: the contract in it is invalid.
    """
    return sources.policy_contract(
        folder if isinstance(folder, PolicyFiles) else read_policy_file(folder, sources.POLICY)
    )


def contract_parts(contract: Contract) -> dict[str, Any]:
    """What a certificate records of a contract."""
    return {
        "sha256": contract.hash,
        "control_hz": contract.control_hz,
        "cameras": {c.name: [c.height, c.width] for c in contract.cameras},
    }


def simulator_files(root: Path = SIMULATOR) -> dict[str, str]:
    """Every file that decides a scene, a task, a perturbation or a rollout: name in the source tree -> SHA-256.

    Args:
        root: the folder of `sim`; the rooms of `vla_agent` that it runs on (`PACKAGE_ROOMS`) are beside it.
    """
    folders = [root, *(root.parent / "vla_agent" / room for room in PACKAGE_ROOMS)]
    files = sorted(f for folder in folders for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    return {f.relative_to(root.parent).as_posix(): hash_file(f) for f in files}
