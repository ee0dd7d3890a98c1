"""Whose contract it is: a policy folder's, a dataset's or the simulator's.  Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError
from vla_agent.folder import find_folder
from vla_agent.serving.remote import is_server, metadata_of

SIMULATOR = "sim"
POLICY, DATASET = "policy.json", "meta/contract.json"


def kind_of(name: str) -> str:
    """ "simulator", "server", "dataset" or "policy"; a name that is no folder here is taken for a policy's hub id."""
    if name == SIMULATOR:
        return "simulator"
    if is_server(name):
        return "server"
    return "dataset" if (Path(name) / DATASET).is_file() else "policy"


def contract_of(name: str) -> Contract:
    """The contract of a policy (folder, training's folder, hub id or server), of a dataset's folder, or of "sim".

    Raises:
        CheckpointError: there is no such folder, or nothing in it has a contract.
        ContractError: the contract cannot be read.
        ServingError: nobody serves there.
    """
    kind = kind_of(name)
    if kind == "simulator":
        from sim.env import tabletop_contract

        return tabletop_contract()
    if kind == "server":
        return metadata_of(name).contract
    file = Path(name) / DATASET if kind == "dataset" else find_folder(name) / POLICY
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return Contract.from_dict(data if kind == "dataset" else data["contract"], file=str(file))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "no contract is to be found there",
            file=file,
            key="contract",
            expected=f"a policy ({POLICY}), a dataset ({DATASET}) or the word {SIMULATOR}",
            found="no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}",
            remedy="name the folder that `vla-agent train` or `vla-agent collect` wrote",
        ) from error


def normalised_range(name: str, layout: str) -> dict[str, np.ndarray]:
    """What the normalised values -1 and 1 stand for in a policy: ``low`` and ``high`` (size,), in the contract's units.

    Args:
        layout: "state" or "action".

    Raises:
        CheckpointError: the statistics are missing, or are no finite shift and positive scale.
    """
    from safetensors import SafetensorError, safe_open

    file = find_folder(name) / "head.safetensors"
    key = f"{layout}_normaliser"
    try:
        with safe_open(file, framework="numpy") as stored:
            shift, scale = (stored.get_tensor(f"{key}.{part}") for part in ("shift", "scale"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            "the normaliser's statistics cannot be read",
            file=file,
            key=key,
            expected="shift and scale for each dimension",
            found=f"{type(error).__name__}: {error}",
            remedy="get the checkpoint again or train anew: without them the robot would move wrongly",
        ) from error
    if not (np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise CheckpointError(
            "the normaliser's statistics are unusable",
            file=file,
            key=key,
            expected="finite shift and positive scale for each dimension",
            found=f"shift {shift.tolist()}, scale {scale.tolist()}",
            remedy="get the checkpoint again or train anew: without them the robot would move wrongly",
        )
    return {"low": shift - scale, "high": shift + scale}
