"""An adapter's folder: the trained parameters only, bound to the one base policy that they fit.

adapter.json          the base's name and SHA-256, settings, parameter counts, SHA-256 of the weights
adapter.safetensors   the trained parameters, fp32
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vla_agent.adapters.adapter_settings import AdapterSettings
from vla_agent.adapters.attach import AdaptedPolicy, attach
from vla_agent.adapters.merging import Merge, merged_state
from vla_agent.errors import CheckpointError, VlaAgentError
from vla_agent.files.hashing import hash_file
from vla_agent.files.policy_folder import find_folder
from vla_agent.files.write_aside import folder_aside, recover
from vla_agent.models.weight_interpolation import interpolate
from vla_agent.policy.checkpoint import load_checkpoint
from vla_agent.policy.policy import VLAPolicy

FORMAT = 1
DESCRIPTION, WEIGHTS = "adapter.json", "adapter.safetensors"
KEYS = ("format", "base", "adapter", "wise", "parameters", "sha256", "fixed_sha256")
_GET_AGAIN = "get the adapter again, or train it again with vla-agent finetune"


def base_hash(folder: Path) -> str:
    """SHA-256 of a base policy: of its description, which holds the SHA-256 of each weight file."""
    return hash_file(folder / "policy.json")


def save_adapter(
    attached: AdaptedPolicy, base: str, folder: Path, wise: float = 1.0, more: Mapping[str, Any] | None = None
) -> None:
    """Write an adapter's folder, whole or not at all.

    Args:
        base: the base policy's folder or hub id, as the user gave it.
        wise: fraction of the tuned weights when the adapter is loaded, see `vla_agent.models.weight_interpolation`.
        more: further entries of the description.
    """
    place = find_folder(base)
    with folder_aside(folder) as aside:
        save_file({k: v.detach().float().contiguous() for k, v in attached.trained().items()}, aside / WEIGHTS)
        description = {
            "format": FORMAT,
            "base": {"name": base, "beside": os.path.relpath(place, folder), "sha256": base_hash(place)},
            "adapter": attached.adapter.model_dump(),
            "wise": wise,
            "parameters": attached.counts(),
            "sha256": hash_file(aside / WEIGHTS),
            "fixed_sha256": _hash(attached.fixed()),
            **(more or {}),
        }
        (aside / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")


def load_adapted(folder: str | PathLike[str], base: str | PathLike[str] | None = None) -> VLAPolicy:
    """The tuned policy: the base with the adapter merged into its weights.

    Raises:
        CheckpointError: the adapter or its base is missing or damaged, or the base is a different one.
    """
    merge = load_merge(folder, base)
    merge.apply()
    return merge.policy.eval().requires_grad_(False)


def load_merge(folder: str | PathLike[str], base: str | PathLike[str] | None = None) -> Merge:
    """The base policy and the weights that its adapter changes, to be switched on and off.

    Raises:
        CheckpointError: as `load_adapted`.
    """
    folder = Path(folder)
    description = read_description(folder)
    place = _find_base(folder, description, base)
    plain, adapted = load_checkpoint(place), load_checkpoint(place)
    attached = attach(adapted, AdapterSettings.model_validate(description["adapter"]))
    _require_same_matrices(attached, folder, description)
    state = _load_weights(folder, description)
    _require_shapes(attached, state, folder)
    with torch.no_grad():
        for name, parameter in attached.trained().items():
            parameter.copy_(state[name])
    return Merge(plain, interpolate(plain.state_dict(), merged_state(attached), description["wise"]))


def read_description(folder: Path) -> dict[str, Any]:
    """``adapter.json``, checked.

    Raises:
        CheckpointError: missing, not JSON, incomplete, of another format or with invalid settings.
    """
    file = folder / DESCRIPTION
    recover(folder)
    try:
        description = json.loads(file.read_text())
        missing = [key for key in KEYS if key not in description]
        if missing or description["format"] != FORMAT:
            raise ValueError(f"without {', '.join(missing)}" if missing else f"format {description['format']}")
        AdapterSettings.model_validate(description["adapter"])
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise CheckpointError(
            "the adapter's description cannot be read",
            file=file,
            expected=f"JSON of format {FORMAT} with {', '.join(KEYS)}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            remedy=_GET_AGAIN,
        ) from error
    return description


def _find_base(folder: Path, description: dict[str, Any], given: str | PathLike[str] | None) -> Path:
    wanted = description["base"]
    found, tried = "", [given] if given is not None else [wanted["name"], folder / wanted["beside"]]
    for name in tried:
        try:
            place = find_folder(name)
            digest = base_hash(place)
        except (VlaAgentError, OSError):
            found = found or f"nothing at {name}"
            continue
        if digest == wanted["sha256"]:
            return place
        found = f"{place} with {digest}"
    raise CheckpointError(
        "the adapter's base is missing or is a different policy",
        file=folder / DESCRIPTION,
        key="base.sha256",
        expected=f"{wanted['name']} with {wanted['sha256']}",
        found=found,
        remedy=f"put the policy that it was trained on at {wanted['name']}, or use the merged policy beside it",
    )


def _load_weights(folder: Path, description: dict[str, Any]) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    try:
        digest = hash_file(file)
        if digest == description["sha256"]:
            return load_file(file)
    except (OSError, SafetensorError) as error:
        digest = f"{type(error).__name__}: {error}"
    raise CheckpointError(
        "the adapter's weights are missing or damaged",
        file=file,
        key="sha256",
        expected=description["sha256"],
        found=digest,
        remedy=_GET_AGAIN,
    )


def _require_shapes(attached: AdaptedPolicy, state: Mapping[str, Tensor], folder: Path) -> None:
    expected = {k: tuple(v.shape) for k, v in attached.trained().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    if expected != found:
        wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))[0]
        raise CheckpointError(
            "the adapter's weights do not fit its description",
            file=folder / WEIGHTS,
            key=wrong,
            expected=expected.get(wrong, "absent"),
            found=found.get(wrong, "absent"),
            remedy=_GET_AGAIN,
        )


def _require_same_matrices(attached: AdaptedPolicy, folder: Path, description: dict[str, Any]) -> None:
    """Refuse an adapter whose random matrices this machine draws differently."""
    if _hash(attached.fixed()) != description["fixed_sha256"]:
        raise CheckpointError(
            "this machine's libraries draw the adapter's random matrices differently",
            file=folder / DESCRIPTION,
            key="fixed_sha256",
            expected="the same bits as where it was trained",
            found=f"different ones, with torch {torch.__version__}",
            remedy="use the merged policy beside the adapter, or the versions that it was trained with",
        )


def _hash(tensors: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()
