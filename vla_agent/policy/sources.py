"""Resolving a policy's name (folder, name of the hub, server) and reading its contract.  Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_agent.contract import Contract
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.errors import CheckpointError, ServingError
from vla_agent.files.bounded_reading import parse_json, read_bytes
from vla_agent.files.hashing import hash_file
from vla_agent.files.policy.closed_list import MANIFEST
from vla_agent.files.policy_files import PolicyFiles, read_policy_file
from vla_agent.files.policy_folder import find_folder
from vla_agent.serving.protocol_messages import Metadata

SCHEMES = ("ws://", "wss://")
SIMULATOR = "sim"
POLICY, DATASET = "policy.json", "meta/contract.json"


def is_server(name: str) -> bool:
    """Whether a policy's name is the address of a server."""
    return str(name).startswith(SCHEMES)


def is_remote(name: str) -> bool:
    """Whether a policy's name is the address of a server, or a file that describes one."""
    return is_server(name) or str(name).endswith((".yaml", ".yml"))


def kind_of(name: str) -> str:
    """ "simulator", "server", "dataset" or "policy"; anything else counts as a policy's name."""
    if name == SIMULATOR:
        return "simulator"
    if is_server(name):
        return "server"
    return "dataset" if (Path(name) / DATASET).is_file() else "policy"


def contract_of(name: str) -> Contract:
    """The contract of a policy (folder, training run, name of the hub or server), of a dataset's folder, or of "sim".

    Raises:
        CheckpointError: there is no such folder, or it has no contract.
        ContractError: the contract cannot be read.
        ServingError: no server listens at the address.
    """
    kind = kind_of(name)
    if kind == "simulator":
        return tabletop_contract()
    if kind == "server":
        return metadata_of(name).contract
    if kind == "policy":
        return policy_contract(read_policy_file(find_folder(name), POLICY))
    file = Path(name) / DATASET
    try:
        if file.parent.is_symlink():
            raise ValueError(f"{file.parent} is a link")
        data = parse_json(read_bytes(file, CheckpointError, links=False), file, CheckpointError)
        return Contract.from_dict(data, file=str(file))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_contract(file, f"{type(error).__name__}: {error}") from error


def policy_contract(files: PolicyFiles) -> Contract:
    """The contract of a policy, exported or not, whose description was read; of an adapter, that of its base.

    Raises:
        CheckpointError: it has none.
        ContractError: the contract cannot be read.
    """
    file = files.policy.folder / POLICY
    name = MANIFEST if MANIFEST in files.policy else POLICY
    if name not in files.policy:
        raise _no_contract(file, "no such file")
    try:
        return Contract.from_dict(files.policy.json(name)["contract"], file=str(files.policy.folder / name))
    except (KeyError, TypeError, ValueError) as error:
        raise _no_contract(file, f"{type(error).__name__}: {error}") from error


def _no_contract(file: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "there is no contract",
        file=file,
        key="contract",
        expected=f"a policy ({POLICY}), a dataset ({DATASET}) or the word {SIMULATOR}",
        found=found,
        remedy="name the folder that `vla-agent train` or `vla-agent collect` wrote",
    )


def normalised_range(name: str, layout: str) -> dict[str, np.ndarray]:
    """The values that a policy normalises to -1 and 1: ``low`` and ``high`` (size,), in the contract's units.

    Args:
        layout: "state" or "action".

    Raises:
        CheckpointError: the statistics are missing, or not a finite shift and a positive scale.
    """
    from safetensors import SafetensorError, safe_open

    files = read_policy_file(find_folder(name), "head.safetensors").policy
    if MANIFEST in files:
        return _exported_range(files, layout)
    file, key = files.folder / "head.safetensors", f"{layout}_normaliser"
    try:
        with safe_open(files.path("head.safetensors"), framework="numpy") as stored:
            shift, scale = (stored.get_tensor(f"{key}.{name}") for name in ("shift", "scale"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            "the normaliser's statistics cannot be read",
            file=file,
            key=key,
            expected="shift and scale for each dimension",
            found=f"{type(error).__name__}: {error}",
            remedy="get the checkpoint again or retrain: without them the robot moves wrongly",
        ) from error
    if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise CheckpointError(
            "the normaliser's statistics are unusable",
            file=file,
            key=key,
            expected="finite shift and positive scale for each dimension",
            found=f"shift {shift.tolist()}, scale {scale.tolist()}",
            remedy="get the checkpoint again or retrain: without them the robot moves wrongly",
        )
    return {"low": shift - scale, "high": shift + scale}


def _exported_range(files: PolicyFiles, layout: str) -> dict[str, np.ndarray]:
    """As `normalised_range`, of an exported policy's manifest."""
    try:
        described = files.json(MANIFEST)["normalised"][layout]
        found = {end: np.asarray(described[end], np.float32) for end in ("low", "high")}
        if all(np.isfinite(values).all() for values in found.values()) and (found["low"] < found["high"]).all():
            return found
        problem = str(described)[:200]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise CheckpointError(
        "the exported policy does not say what it normalises",
        file=files.folder / MANIFEST,
        key=f"normalised.{layout}",
        expected="low and high of each number, low below high",
        found=problem,
        remedy="get the folder again, or export the policy again",
    )


def metadata_of(url: str) -> Metadata:
    """The metadata of the policy that the server at ``url`` serves.

    Raises:
        ServingError: there is no server, or it sends no contract.
    """
    require_packages()
    from vla_agent.serving.remote_policy import RemotePolicy
    from vla_agent.serving.tokens import read_token

    policy = RemotePolicy(url, read_token(None))
    policy.close()
    return policy.metadata


def files_of(name: str) -> dict[str, str]:
    """Name -> SHA-256 of the policy's files as a server reports them, or of the file that describes a server.

    Raises:
        VlaAgentError: there is no server, or no such file.
    """
    if is_server(name):
        return dict(metadata_of(name).files)
    return {Path(name).name: hash_file(name)}


def require_packages() -> None:
    """Check that the packages for serving are installed.

    Raises:
        ServingError: one is missing; says how to install it.
    """
    try:
        import msgpack  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ServingError(
            "serving needs packages that are not installed",
            key=error.name,
            expected="msgpack and websockets",
            found=str(error),
            remedy="pip install 'vla_agent[serving]'",
        ) from error
