"""Reading a policy folder: description, weight files, contract, normalisers; each checked before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load_file

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError
from vla_agent.files.hashing import hash_file
from vla_agent.files.write_aside import recover
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.backbones.pretrained.pretrained_files import OPTIONS, load_vlm
from vla_agent.models.heads.head_config import HeadConfig
from vla_agent.policy.policy import FORMAT, VLAPolicy

KEYS = ("format", "contract", "head", "execute", "sha256")


def load_checkpoint(folder: Path, backbone: Backbone | VLMBackbone | None = None) -> VLAPolicy:
    """The policy of a folder that `VLAPolicy.save` wrote; with ``backbone`` in place of the folder's own.

    Raises:
        CheckpointError: the folder is missing, incomplete, damaged, or its statistics are unusable.
        ContractError: its contract cannot be read.
    """
    recover(folder)
    file, weights = folder / "policy.json", folder / "head.safetensors"
    description = _description(file)
    _require_intact(folder, description["sha256"])
    contract = Contract.from_dict(description["contract"], file=str(file))
    if backbone is None:
        source = folder / "backbone"
        backbone = load_vlm(source) if (source / OPTIONS).is_file() else Backbone.load(source)
    backbone.check_cameras(contract, file)
    policy = VLAPolicy(contract, backbone, _head(description["head"], file), int(description["execute"]))
    _fill(policy, weights)
    policy.state_normaliser.require_fitted(str(weights), "state_normaliser")
    policy.action_normaliser.require_fitted(str(weights), "action_normaliser")
    return policy.eval().requires_grad_(False)


def _description(file: Path) -> dict[str, Any]:
    try:
        description = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "the policy's description cannot be read",
            file=file,
            expected="a JSON file with contract, head, execute and sha256",
            found=f"{type(error).__name__}: {error}",
            remedy="get the checkpoint again; a policy folder is what `vla-agent train` writes",
        ) from error
    for key in KEYS:
        if key not in description:
            raise CheckpointError(
                "the policy's description is incomplete",
                file=file,
                key=key,
                expected=", ".join(KEYS),
                found=", ".join(sorted(description)),
                remedy="get the checkpoint again or retrain",
            )
    if description["format"] != FORMAT:
        raise CheckpointError(
            "the policy has another format",
            file=file,
            key="format",
            expected=FORMAT,
            found=description["format"],
            remedy="install the vla-agent release that wrote it, or retrain",
        )
    return description


def _require_intact(folder: Path, digests: dict[str, str]) -> None:
    for name, digest in digests.items():
        weights = folder / name
        found = hash_file(weights) if weights.is_file() else "no such file"
        if found != digest:
            raise CheckpointError(
                "a weight file is missing or damaged",
                file=weights,
                key="sha256",
                expected=digest,
                found=found,
                remedy="get the checkpoint again: these are not the bytes that were evaluated",
            )


def _head(described: dict[str, Any], file: Path) -> HeadConfig:
    try:
        return HeadConfig(**described)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(
            "the head's settings cannot be read",
            file=file,
            key="head",
            found=" ".join(str(error).split()),
            remedy="get the checkpoint again",
        ) from error


def _fill(policy: VLAPolicy, weights: Path) -> None:
    """Load the weights of the head and the normalisers; they must be exactly those that the policy has."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()}
    wanted = {k: tuple(v.shape) for k, v in policy.state_dict().items() if not k.startswith("backbone.")}
    held = {k: tuple(v.shape) for k, v in state.items()}
    if wanted != held:
        wrong = sorted(k for k in wanted.keys() | held.keys() if wanted.get(k) != held.get(k))
        raise CheckpointError(
            "the head's weights do not fit its description",
            file=weights,
            key=wrong[0],
            expected=wanted.get(wrong[0], "absent"),
            found=held.get(wrong[0], "absent"),
            remedy="get the checkpoint again or retrain",
        )
    policy.load_state_dict(state, strict=False)
