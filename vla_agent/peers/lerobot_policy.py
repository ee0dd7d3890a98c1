"""A policy folder of LeRobot (0.4) with this project's interface: `reset`, `act`, `contract`, `execute`.

The folder names features and their shapes, but neither units nor rate: those come from the contract of the dataset that
it was trained on.  `Keys` maps every camera and the state to LeRobot's keys; a key that does not fit is refused before
anything moves.  Only LeRobot's own processors normalise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_agent.contract import Contract
from vla_agent.data.lerobot.dataset_schema import ACTION, STATE, image_key
from vla_agent.errors import CheckpointError, ContractError
from vla_agent.files.canonical_json import digest
from vla_agent.files.policy_files import PolicyFiles
from vla_agent.peers.torchvision_names import declare_operators
from vla_agent.serving.protocol_messages import SERVED_WITH

SELF_CONTAINED = ("act", "diffusion", "vqbet", "tdmpc")  # kinds that read nothing but their folder
ELSEWHERE = "read from elsewhere"  # among the files, of the other kinds


@dataclass(frozen=True)
class Keys:
    """LeRobot's keys for cameras, state and action.  Cameras that are not in ``images``: as in `vla-agent collect`.

    Args:
        images: camera of the contract -> LeRobot's feature.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    state: str = STATE
    action: str = ACTION

    def of(self, camera: str) -> str:
        """LeRobot's feature for a camera of the contract."""
        return self.images.get(camera, image_key(camera))


class LeRobotPolicy:
    """See the module's head.

    A policy that needs one observation a chunk emits its chunks.  One that needs an observation in every control
    period (with a history of them, as Diffusion, or ACT with temporal ensembling) emits one row at a time, and
    LeRobot's own queue schedules its inferences: both as in LeRobot's own evaluation.

    Args:
        files: config.json, model.safetensors and the processors, as `lerobot-train` writes (pretrained_model), read by
            `read_lerobot_files`: LeRobot loads the bytes that were hashed.
        contract: of the dataset that it was trained on.
        device: of torch.

    Raises:
        CheckpointError: LeRobot cannot load the folder.
        ContractError: features and contract do not match; lists every difference.
    """

    def __init__(self, files: PolicyFiles, contract: Contract, keys: Keys | None = None, device: str = "cpu") -> None:
        self._keys, self._device = keys or Keys(), torch.device(device)
        self._policy, self._before, self._after = _load(files, device)
        config = self._policy.config
        require_fit(features_of(config), contract, self._keys, str(files.folder))
        self.files = stated_files(files.hashes, str(config.type), contract, self._keys)
        ensembles = getattr(config, "temporal_ensemble_coeff", None) is not None
        self.chunks = hasattr(config, "chunk_size") and config.n_obs_steps == 1 and not ensembles
        self.contract = replace(contract, chunk_length=config.chunk_size if self.chunks else 1)
        self.execute = int(config.n_action_steps) if self.chunks else 1
        self._instruction, self._noise = "", torch.get_rng_state()

    def parameters(self) -> Iterator[torch.Tensor]:
        """Those that clients of a server share."""
        return self._policy.parameters()

    def buffers(self) -> Iterator[torch.Tensor]:
        """Those that clients of a server share."""
        return self._policy.buffers()

    def reset(self, instruction: str, seed: int = 0) -> None:
        """Begin an episode: LeRobot's queues are emptied, the noise begins at ``seed``."""
        self._policy.reset()
        self._instruction, self._noise = instruction, torch.Generator().manual_seed(seed).get_state()

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """One observation -> chunk (T, A) float32 in the contract's units; T is 1 where it needs every observation.

        Raises:
            ObservationError: the observation does not fit the contract.
            ContractError: the policy's output is no chunk.
        """
        from lerobot.policies.utils import prepare_observation_for_inference

        self.contract.check_observation(observation)
        named = {self._keys.of(name): np.array(observation["images"][name]) for name in self.contract.camera_names}
        named[self._keys.state] = np.array(observation["state"], np.float32)
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._noise)  # LeRobot draws from torch's own generator, which all clients share
            batch = self._before(prepare_observation_for_inference(named, self._device, self._instruction))
            rows = self._policy.predict_action_chunk(batch) if self.chunks else self._policy.select_action(batch)
            self._noise = torch.get_rng_state()
            return self.contract.check_chunk(self._after(rows).cpu().numpy().reshape(-1, rows.shape[-1]))


def features_of(config: Any) -> dict[str, tuple[int, ...]]:
    """LeRobot's features of a policy: key -> shape, images as (3, H, W)."""
    features = config.input_features | config.output_features
    return {key: tuple(feature.shape) for key, feature in features.items()}


def require_fit(features: Mapping[str, tuple[int, ...]], contract: Contract, keys: Keys, folder: str) -> None:
    """Check that the contract has every feature that the policy reads and writes, with the same shapes.

    Raises:
        ContractError: lists every difference.
    """
    ours: dict[str, tuple[int, ...]] = {keys.of(c.name): (3, c.height, c.width) for c in contract.cameras}
    ours |= {keys.state: (contract.state_dim,), keys.action: (contract.action_dim,)}
    wrong = {key: (features.get(key), ours.get(key)) for key in features.keys() | ours.keys()}
    wrong = {key: both for key, both in sorted(wrong.items()) if both[0] != both[1]}
    unknown = sorted(set(keys.images) - set(contract.camera_names))
    if wrong or unknown or len(ours) < len(contract.cameras) + 2:
        raise ContractError(
            "the LeRobot policy and the contract do not fit together",
            file=folder,
            key="; ".join([*wrong, *(f"camera {name}" for name in unknown)]) or "two cameras under one key",
            expected="; ".join(f"{key} {theirs or 'is not read'}" for key, (theirs, _) in wrong.items())
            or f"each of the cameras {', '.join(contract.camera_names)} under a key of its own",
            found="; ".join(f"{key} {ours_shape or 'is missing'}" for key, (_, ours_shape) in wrong.items())
            or ", ".join(f"{name}={key}" for name, key in keys.images.items()),
            remedy="name the dataset that it was trained on, and map cameras with --camera NAME=KEY",
        )


def stated_files(hashes: Mapping[str, str], kind: str, contract: Contract, keys: Keys) -> dict[str, str]:
    """What the server states of the policy: its files, and what they are served with (`SERVED_WITH`).

    A policy of a kind that reads more than its folder says so instead of a hash, so that no certificate can bind it.

    Args:
        kind: LeRobot's name of it, such as act.
    """
    from importlib.metadata import version

    served: dict[str, Any] = {"program": f"lerobot {version('lerobot')}", "contract": contract.hash}
    served |= {"images": {c: keys.of(c) for c in contract.camera_names}, "state": keys.state, "action": keys.action}
    elsewhere = {} if kind in SELF_CONTAINED else {ELSEWHERE: "what LeRobot has in its cache"}
    return dict(hashes) | {SERVED_WITH: digest(served)} | elsewhere


def _load(files: PolicyFiles, device: str) -> tuple[Any, Any, Any]:
    """The policy and its processors, from safetensors only and without a download."""
    with files.view() as folder:
        return _load_folder(folder, device, files.folder)


def _load_folder(folder: Path, device: str, where: Path) -> tuple[Any, Any, Any]:
    declare_operators()
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    try:
        config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
        config.device = device
        if hasattr(config, "pretrained_backbone_weights"):
            config.pretrained_backbone_weights = None  # they are in the folder's weights
        policy = get_policy_class(config.type).from_pretrained(folder, config=config, local_files_only=True)
        overrides = {"device_processor": {"device": device}}
        before, after = make_pre_post_processors(config, str(folder), preprocessor_overrides=overrides)
    except Exception as error:  # LeRobot and its dependencies raise many types
        raise CheckpointError(
            "LeRobot cannot load this policy",
            file=where,
            expected="a folder that lerobot-train wrote: checkpoints/last/pretrained_model",
            found=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            remedy="name such a folder, written by LeRobot 0.4",
        ) from error
    return policy.to(device).eval(), before, after
