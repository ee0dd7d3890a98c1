"""SHA-256 of everything that a certificate binds, file by file, so that each change can be named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError
from vla_agent.files.canonical_json import digest
from vla_agent.files.hashing import hash_file

SIMULATOR = Path(__file__).resolve().parents[3] / "sim"  # not imported: a server of hashes needs no MuJoCo
PACKAGE_ROOMS = ("robot/kinematics", "policy/execution", "contract")  # what `sim` imports of this package
RECORD_FOLDERS = ("evaluation", "__pycache__")  # of a policy: reports, not the policy
RECORD_SUFFIXES = (".md", ".png", ".html")


def policy_files(folder: Path) -> dict[str, str]:
    """Every file of a policy folder except reports, images and certificates: name -> SHA-256."""
    names = {f.relative_to(folder): f for f in sorted(folder.rglob("*")) if f.is_file()}
    return {name.as_posix(): hash_file(f) for name, f in names.items() if not _is_record(name)}


def _is_record(name: Path) -> bool:
    return (
        name.suffix in RECORD_SUFFIXES
        or name.name == "certificate.json"
        or bool(set(RECORD_FOLDERS) & set(name.parts[:-1]))
    )


def policy_parts(folder: Path) -> dict[str, Any]:
    """Hashes of ``files``; names of ``adapter`` files; hash of the ``normaliser``; ``digest`` of all files."""
    files = policy_files(folder)
    return {
        "files": files,
        "adapter": adapter_files(files),
        "normaliser": _normaliser(folder / "head.safetensors"),
        "digest": digest(files),
    }


def adapter_files(files: Iterable[str]) -> list[str]:
    """Those of a policy's files that belong to an adapter."""
    return sorted(name for name in files if Path(name).name.startswith("adapter"))


def _normaliser(file: Path) -> str:
    """SHA-256 of the normalisers' tensors, or "unreadable"."""
    from safetensors import SafetensorError, safe_open

    sha = hashlib.sha256()
    try:
        with safe_open(file, framework="numpy") as tensors:
            for name in sorted(k for k in tensors.keys() if "normaliser" in k):  # noqa: SIM118 - not a mapping
                sha.update(name.encode() + tensors.get_tensor(name).tobytes())
    except (OSError, SafetensorError, TypeError):
        return "unreadable"
    return sha.hexdigest()


def policy_contract(folder: Path) -> Contract:
    """The contract inside a policy folder.

    Raises:
        CheckpointError: no policy.json, or it cannot be read.
        ContractError: the contract in it is invalid.
    """
    file = folder / "policy.json"
    try:
        return Contract.from_dict(json.loads(file.read_text(encoding="utf-8"))["contract"], file=str(file))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "the policy's contract cannot be read",
            file=file,
            key="contract",
            expected="the policy.json that `vla-agent train` writes",
            found=f"{type(error).__name__}: {error}",
            remedy="get the checkpoint again",
        ) from error


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
