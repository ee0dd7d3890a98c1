"""The policy: a folder with everything that is needed to act, and nothing that must be remembered beside it.

policy.json           contract, sizes of the head, steps to execute, SHA-256 of the weight files
backbone/             a transformers model with tokenizer and image processor
head.safetensors      the head and the normalisers' statistics
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError, OptionError
from vla_agent.files.hashing import hash_file
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone, stack_images
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.backbones.pretrained.pretrained_files import save_vlm
from vla_agent.models.heads.build_head import HeadConfig, build_head
from vla_agent.models.normaliser import Normaliser
from vla_agent.models.oracle_points import Truth
from vla_agent.models.timing_sections import part
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.execution.seams import fade_in

FORMAT = 1


class VLAPolicy(nn.Module):
    """Vision-language backbone, action head, normalisers and contract.

    Use: ``policy.reset("put the red mug in the tray")``, then ``policy.act(observation)`` -> chunk (T, A) in the
    contract's units, of which ``policy.execute`` rows are meant to be executed before the next look.
    """

    def __init__(
        self, contract: Contract, backbone: Backbone | VLMBackbone, head: HeadConfig, execute: int = 8
    ) -> None:
        super().__init__()
        self.contract, self.execute = contract, execute
        self.backbone = backbone
        self.head = build_head(
            head,
            contract.chunk_length,
            contract.action_dim,
            contract.state_dim,
            backbone.feature_dim,
            backbone.geometry_dim,
        )
        self.state_normaliser = Normaliser(contract.state_dim)
        self.action_normaliser = Normaliser(contract.action_dim)
        self.compiled = False  # see `vla_agent.policy.speed.compiling`
        self.quantised = ""  # see `vla_agent.policy.speed.quantising`
        self.engine: Any = None  # in place of backbone and head when it acts; see `vla_agent.policy.speed.openvino`
        self._text: Any = None  # what the backbone made of the instruction
        self._generator = torch.Generator()

    @torch.inference_mode()
    def reset(self, instruction: str, seed: int = 0) -> None:
        """Begin an episode: encode the instruction once, and start the denoising noise from ``seed``."""
        self.eval()
        self._text = self.backbone.encode_text([instruction])
        self._generator.manual_seed(seed)

    def forget(self) -> None:
        """Forget the instruction."""
        self._text = None

    @torch.inference_mode()
    def act(
        self, observation: dict[str, Any], committed: Committed | None = None, truth: Truth | None = None
    ) -> np.ndarray:
        """One observation -> chunk (T, A) float32 in the contract's units.

        Args:
            committed: what is already decided about this chunk, which then continues it (real-time chunking).
            truth: where target and goal are, taken in place of where the backbone finds them (simulation only).

        Raises:
            ObservationError: the observation does not fit the contract.
            CheckpointError: `reset` was not called.
            OptionError: ``truth`` where `takes_places` is False.
        """
        if self._text is None:
            raise CheckpointError("the policy has no instruction", key="reset", remedy="call reset(instruction) first")
        self.contract.check_observation(observation)
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()  # what a CUDA graph gave before may be overwritten
        device = self.state_normaliser.shift.device
        with part("copy"):
            seen = np.asarray(observation["state"], dtype=np.float32)
            begin = seen if committed is None else future_state(self.contract, seen, committed.frozen)
            state = torch.from_numpy(begin)[None].to(device)
            images = stack_images(observation["images"], self.contract.camera_names)
        parts = (self.engine or self.backbone).features(images, self._text)
        if truth is not None:
            parts = {**parts, **{name: told.to(device) for name, told in self._told(truth).items()}}
        geometry = self.backbone.geometry_of(parts, state[:, :3])
        condition, mask = (parts["hidden"], self.state_normaliser(state), geometry), parts.get("mask")
        chunk = (self.engine or self.head).sample(*condition, generator=self._generator, mask=mask)
        with part("copy"):
            actions = self.action_normaliser.inverse(chunk.clamp(-1.5, 1.5))[0].cpu().numpy()
        if committed is not None:  # row 0 is of the observation's control step again
            actions = fade_in(self.contract, committed, actions)
        return self.contract.check_chunk(actions)

    @property
    def takes_places(self) -> bool:
        """Whether the head sees places in numbers, so that it can be told true ones."""
        return self.backbone.geometry_dim > 0

    def _told(self, truth: Truth) -> dict[str, Tensor]:
        if not self.takes_places:
            raise OptionError(
                "this policy cannot be told where things are",
                key="truth",
                expected="a backbone that says places in numbers",
                found=type(self.backbone).__name__,
                remedy="leave the truth out; a gate leaves out its check 'oracle' by itself",
            )
        return dict(zip(("points", "seen", "located"), truth.perceived(), strict=True))

    def parameter_counts(self) -> dict[str, int]:
        return {
            "backbone": sum(p.numel() for p in self.backbone.parameters()),
            "head": sum(p.numel() for p in self.head.parameters()),
        }

    def save(self, folder: str | PathLike[str], dtype: torch.dtype = torch.bfloat16) -> None:
        """Write the policy folder aside, its weights in ``dtype``, and rename it; extra files in it are kept."""
        folder = Path(folder)
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            shutil.copytree(folder, aside)
        aside.mkdir(parents=True, exist_ok=True)
        if isinstance(self.backbone, VLMBackbone):
            save_vlm(self.backbone, aside / "backbone")
        else:
            self.backbone.save(aside / "backbone", dtype)
        params = {name for name, _ in self.named_parameters()}
        state = {k: v for k, v in self.state_dict().items() if not k.startswith("backbone.")}
        save_file(
            {k: (v.to(dtype) if k in params else v).contiguous() for k, v in state.items()},
            aside / "head.safetensors",
        )
        weights = [*sorted((aside / "backbone").rglob("*.safetensors")), aside / "head.safetensors"]
        description = {
            "format": FORMAT,
            "contract": self.contract.to_dict(),
            "head": asdict(self.head.config),
            "execute": self.execute,
            "parameters": self.parameter_counts(),
            "sha256": {f.relative_to(aside).as_posix(): hash_file(f) for f in weights},
        }
        (aside / "policy.json").write_text(json.dumps(description, indent=2) + "\n")
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
