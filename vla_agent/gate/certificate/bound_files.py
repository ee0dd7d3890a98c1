"""SHA-256 of everything that a certificate binds: file by file, so that a change can be named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sim
from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError
from vla_agent.files.canonical_json import digest
from vla_agent.files.hashing import hash_file

SIMULATOR = Path(sim.__file__).resolve().parent
ENGINE = ("robot/kinematics", "policy/execution", "contract")  # what `sim` imports of this package
ASIDE = ("evaluation", "__pycache__")  # folders of a policy that hold records, not the policy
RECORDS = (".md", ".png", ".html")
BESIDE = ("certificate.json",)


def policy_files(folder: Path) -> dict[str, str]:
    """Every file of a policy folder except its records (`ASIDE`, `RECORDS`, `BESIDE`): name -> SHA-256."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {
        f.relative_to(folder).as_posix(): hash_file(f)
        for f in files
        if f.suffix not in RECORDS and f.name not in BESIDE and not set(ASIDE) & set(f.relative_to(folder).parts[:-1])
    }


def policy_parts(folder: Path) -> dict[str, Any]:
    """``files``; ``adapter``: those of an adapter; ``normaliser``: of its statistics; ``digest``: of all files."""
    files = policy_files(folder)
    return {
        "files": files,
        "adapter": adapters(files),
        "normaliser": _normaliser(folder / "head.safetensors"),
        "digest": digest(files),
    }


def adapters(files: Iterable[str]) -> list[str]:
    """Those of a policy's files that are an adapter's."""
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
        ContractError: the contract in it makes no sense.
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
    """What a certificate says of a contract."""
    return {
        "sha256": contract.hash,
        "control_hz": contract.control_hz,
        "cameras": {c.name: [c.height, c.width] for c in contract.cameras},
    }


def simulator_files(root: Path = SIMULATOR) -> dict[str, str]:
    """Every file that a scene, a task, a perturbation or a rollout is made of: name in the source tree -> SHA-256.

    Args:
        root: the folder of `sim`; the rooms of `vla_agent` that it runs on (`ENGINE`) lie beside it.
    """
    folders = [root, *(root.parent / "vla_agent" / room for room in ENGINE)]
    files = sorted(f for folder in folders for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    return {f.relative_to(root.parent).as_posix(): hash_file(f) for f in files}
