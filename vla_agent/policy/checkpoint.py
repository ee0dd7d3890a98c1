"""Reading a policy folder: description, weight files, contract, normalisers; each checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError
from vla_agent.files.policy.closed_list import OPTIONS
from vla_agent.files.policy_files import PolicyFiles, read_policy_files
from vla_agent.files.write_aside import recover
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.sight import Sight, SightSizes
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.backbones.pretrained.pretrained_files import load_vlm
from vla_agent.models.heads.head_config import HeadConfig
from vla_agent.models.reader.reader_files import load_reader
from vla_agent.policy.doubt.doubt_settings import DoubtSettings
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.policy import FORMAT, SIGHT, VLAPolicy

KEYS = ("format", "contract", "head", "execute", "sha256")
DESCRIPTION, WEIGHTS = "policy.json", "head.safetensors"


def load_checkpoint(folder: str | PathLike[str], backbone: Backbone | VLMBackbone | None = None) -> VLAPolicy:
    """The policy of a folder that `VLAPolicy.save` wrote; with ``backbone`` in place of the folder's own.

    Raises:
        CheckpointError: the folder is missing, incomplete, damaged, holds other files, or its statistics are unusable.
        ContractError: its contract cannot be read.
    """
    recover(Path(folder))
    return policy_from(read_policy_files(folder), backbone)


def policy_from(files: PolicyFiles, backbone: Backbone | VLMBackbone | None = None) -> VLAPolicy:
    """The policy of files that were read; its ``files`` and ``digest`` say which, unless another backbone is given.

    Raises:
        CheckpointError, ContractError: as `load_checkpoint`.
    """
    file, weights = files.folder / DESCRIPTION, files.folder / WEIGHTS
    description = _description(files)
    _require_intact(files, description["sha256"])
    contract = Contract.from_dict(description["contract"], file=str(file))
    whole = backbone is None
    if backbone is None:
        backbone = load_vlm(files) if f"backbone/{OPTIONS}" in files else Backbone.load(files)
    backbone.check_cameras(contract, file)
    policy = VLAPolicy(contract, backbone, _head(description["head"], file), _execute(description, file))
    _fill(policy, files)
    policy.state_normaliser.require_fitted(str(weights), "state_normaliser")
    policy.action_normaliser.require_fitted(str(weights), "action_normaliser")
    if "doubt" in description:
        policy.doubt_with(_doubter(policy, files, description["doubt"]))
    if "reader" in description:
        policy.reader = load_reader(files, description["reader"])
    if whole:
        policy.files, policy.digest = files.hashes, files.digest
    return policy.eval().requires_grad_(False)


def _description(files: PolicyFiles) -> dict[str, Any]:
    file = files.folder / DESCRIPTION
    description = files.json(DESCRIPTION)
    if not isinstance(description, dict):
        raise CheckpointError(
            "the policy's description cannot be read",
            file=file,
            expected="a JSON object with contract, head, execute and sha256",
            found=type(description).__name__,
            remedy="get the checkpoint again; a policy folder is what `vla-agent train` writes",
        )
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


def _execute(description: dict[str, Any], file: Path) -> int:
    found = description["execute"]
    if isinstance(found, int) and not isinstance(found, bool) and found >= 1:
        return found
    raise CheckpointError(
        "the policy's description is invalid",
        file=file,
        key="execute",
        expected="steps of a chunk, 1 or more",
        found=repr(found)[:200],
        remedy="get the checkpoint again or retrain",
    )


def _require_intact(files: PolicyFiles, claimed: Any) -> None:
    """Check what the description says of its weights.  The policy's identity is what was read, not this."""
    found = {name: digest for name, digest in files.own.items() if name.endswith(".safetensors")}
    named: Mapping[str, Any] = claimed if isinstance(claimed, dict) else {}
    for name in sorted(found.keys() | named.keys()):
        if found.get(name) != named.get(name):
            raise CheckpointError(
                "a weight file is missing or damaged",
                file=files.folder / name,
                key="sha256",
                expected=named.get(name, "no such file"),
                found=found.get(name, "no such file"),
                remedy="get the checkpoint again: these are not the bytes that were evaluated",
            )


def _doubter(policy: VLAPolicy, files: PolicyFiles, described: Any) -> Doubter:
    """The policy's doubt; it must fit the backbone."""
    try:
        settings = DoubtSettings.from_dict(described)
        config = policy.backbone.model.config
        names = (len(settings.shapes), len(settings.colours))
        sizes = SightSizes(*names, len(settings.places), len(settings.fixtures))
        sight = Sight(config.stem_channels[0], config.num_views, sizes, settings.width, settings.context)
        sight.load_state_dict(load_file(files.path(SIGHT)))
        if names != tuple(config.num_names):
            raise ValueError(f"{names} names, not the backbone's {tuple(config.num_names)}")
        return Doubter(sight.eval().requires_grad_(False), settings, policy.backbone.model.positions)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            "the policy's doubt cannot be read",
            file=files.folder / SIGHT,
            key="doubt",
            expected="settings of the doubt and weights that fit them and the backbone",
            found=" ".join(str(error).split()),
            remedy="get the checkpoint again or train it again",
        ) from error


def _head(described: dict[str, Any], file: Path) -> HeadConfig:
    try:
        return HeadConfig(**described)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(
            "the head's settings cannot be read",
            file=file,
            key="head",
            expected=", ".join(HeadConfig.model_fields),
            found=" ".join(str(error).split()),
            remedy="get the checkpoint again",
        ) from error


def _fill(policy: VLAPolicy, files: PolicyFiles) -> None:
    """Load the weights of the head and the normalisers; they must be exactly those that the policy has."""
    weights = files.folder / WEIGHTS
    try:
        stored = load_file(files.path(WEIGHTS))
    except SafetensorError as error:
        raise CheckpointError(
            "the head's weights cannot be read",
            file=weights,
            expected="a file of safetensors",
            found=str(error),
            remedy="get the checkpoint again",
        ) from error
    state = {k: v.float() if v.is_floating_point() else v for k, v in stored.items()}
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
