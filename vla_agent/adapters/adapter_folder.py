"""An adapter's folder: the trained parameters only, bound to the one base policy that they fit.

adapter.json          the base's name and digest over its files, settings, parameter counts, SHA-256 of the weights
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
from vla_agent.errors import CheckpointError
from vla_agent.files.hashing import hash_file
from vla_agent.files.policy.closed_list import ADAPTER_FORMAT
from vla_agent.files.policy_files import PolicyFiles, hash_policy_files, read_policy_files
from vla_agent.files.policy_folder import find_folder
from vla_agent.files.write_aside import folder_aside, recover
from vla_agent.models.weight_interpolation import interpolate
from vla_agent.policy.checkpoint import policy_from
from vla_agent.policy.policy import VLAPolicy

DESCRIPTION, WEIGHTS = "adapter.json", "adapter.safetensors"
KEYS = ("format", "base", "adapter", "wise", "parameters", "sha256", "fixed_sha256")
_GET_AGAIN = "get the adapter again, or train it again with vla-agent finetune"


def save_adapter(
    attached: AdaptedPolicy, base: str, folder: Path, wise: float = 1.0, more: Mapping[str, Any] | None = None
) -> None:
    """Write an adapter's folder, whole or not at all.

    Args:
        base: the base policy's folder or name on the hub, as the user gave it.
        wise: fraction of the tuned weights when the adapter is loaded, see `vla_agent.models.weight_interpolation`.
        more: further entries of the description.
    """
    place = find_folder(base)
    digest = hash_policy_files(place).digest
    with folder_aside(folder) as aside:
        save_file({k: v.detach().float().contiguous() for k, v in attached.trained().items()}, aside / WEIGHTS)
        description = {
            "format": ADAPTER_FORMAT,
            "base": {"name": base, "beside": os.path.relpath(place, folder), "sha256": digest},
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
    recover(Path(folder))
    return adapted_from(read_policy_files(folder, base))


def adapted_from(files: PolicyFiles) -> VLAPolicy:
    """As `load_adapted`, of files that were read.

    Raises:
        CheckpointError: as `load_adapted`.
    """
    merge = merge_from(files)
    merge.apply()
    return merge.policy.eval().requires_grad_(False)


def load_merge(folder: str | PathLike[str], base: str | PathLike[str] | None = None) -> Merge:
    """The base policy and the weights that its adapter changes, to be switched on and off.

    Raises:
        CheckpointError: as `load_adapted`.
    """
    recover(Path(folder))
    return merge_from(read_policy_files(folder, base))


def merge_from(files: PolicyFiles) -> Merge:
    """As `load_merge`, of an adapter's files that were read with those of its base.

    Raises:
        CheckpointError: as `load_adapted`.
    """
    description = _description(files)
    plain, adapted = policy_from(files.policy), policy_from(files.policy)
    attached = attach(adapted, AdapterSettings.model_validate(description["adapter"]))
    _require_same_matrices(attached, files.folder, description)
    state = _load_weights(files, description)
    _require_shapes(attached, state, files.folder)
    with torch.no_grad():
        for name, parameter in attached.trained().items():
            parameter.copy_(state[name])
    plain.files, plain.digest = files.hashes, files.digest
    if plain.reader is not None:
        plain.reader = plain.reader.passing(_passing(files, description))
    return Merge(plain, interpolate(plain.state_dict(), merged_state(attached), description["wise"]))


def _description(files: PolicyFiles) -> dict[str, Any]:
    description = files.json(DESCRIPTION)
    try:
        missing = [key for key in KEYS if key not in description]
        if missing:
            raise ValueError(f"without {', '.join(missing)}")
        AdapterSettings.model_validate(description["adapter"])
        float(description["wise"])
    except (ValueError, TypeError, ValidationError) as error:
        raise CheckpointError(
            "the adapter's description cannot be read",
            file=files.folder / DESCRIPTION,
            expected=f"JSON with {', '.join(KEYS)}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            remedy=_GET_AGAIN,
        ) from error
    return dict(description)


def _passing(files: PolicyFiles, description: dict[str, Any]) -> tuple[str, ...]:
    """Templates of the new demonstrations, which the reader of the base lets pass."""
    found = description.get("passing", [])
    if isinstance(found, list) and all(isinstance(template, str) for template in found):
        return tuple(found)
    raise CheckpointError(
        "the adapter's description cannot be read",
        file=files.folder / DESCRIPTION,
        key="passing",
        expected="a list of templates",
        found=repr(found)[:200],
        remedy=_GET_AGAIN,
    )


def _load_weights(files: PolicyFiles, description: dict[str, Any]) -> dict[str, Tensor]:
    digest = files.own.get(WEIGHTS, "no such file")
    try:
        if digest == description["sha256"]:
            return load_file(files.path(WEIGHTS))
    except SafetensorError as error:
        digest = f"{type(error).__name__}: {error}"
    raise CheckpointError(
        "the adapter's weights are missing or damaged",
        file=files.folder / WEIGHTS,
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
