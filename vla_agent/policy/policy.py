"""The policy: one folder with everything that acting needs.

policy.json           contract, settings of the head, steps to execute, SHA-256 of the weight files
backbone/             a transformers model with tokenizer and image processor
head.safetensors      the head and the normalisers' statistics
sight.safetensors     where the policy can doubt: what finds the objects that an instruction names
reader/               where the policy reads instructions in other words than its own: a text encoder with heads
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError, OptionError
from vla_agent.files.hashing import hash_file
from vla_agent.files.write_aside import folder_aside
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone, stack_images
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.backbones.pretrained.pretrained_files import save_vlm
from vla_agent.models.heads.build_head import build_head
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs
from vla_agent.models.normaliser import Normaliser
from vla_agent.models.oracle_points import OraclePoints
from vla_agent.models.reader.reader import Reader, Reading
from vla_agent.models.reader.reader_files import FOLDER as READER
from vla_agent.models.reader.reader_files import save_reader
from vla_agent.models.state_fields import hand_columns
from vla_agent.models.timing_sections import timed_section
from vla_agent.policy.doubt.doubt_settings import Doubt
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.execution.realtime import Committed
from vla_agent.policy.execution.seams import fade_in, hold

FORMAT = 1
SIGHT = "sight.safetensors"


class VLAPolicy(nn.Module):
    """Vision-language backbone, action head, normalisers and contract.

    Use: ``policy.reset("put the red mug in the tray")``, then ``policy.act(observation)`` -> chunk (T, A) in the
    contract's units, of which ``policy.execute`` rows are executed before the next inference.
    """

    def __init__(
        self, contract: Contract, backbone: Backbone | VLMBackbone, head: HeadConfig, execute: int = 8
    ) -> None:
        super().__init__()
        self.contract, self.execute = contract, execute
        self.hand = hand_columns(contract)  # columns of the end effector's position in the state, or None
        self.backbone = backbone
        chunk_shape = contract.chunk_length, contract.action_dim
        dims = HeadDims(*chunk_shape, contract.state_dim, backbone.feature_dim, backbone.geometry_dim)
        self.head = build_head(head, dims)
        self.state_normaliser = Normaliser(contract.state_dim)
        self.action_normaliser = Normaliser(contract.action_dim)
        self.compiled = False  # see `vla_agent.policy.speed.compiling`
        self.quantised = ""  # see `vla_agent.policy.speed.quantising`
        self.files: dict[str, str] = {}  # name -> SHA-256 of what was loaded; empty for a policy that was built here
        self.digest = ""  # SHA-256 over them
        self.doubter: Doubter | None = None  # see `vla_agent.policy.doubt` and `doubt_with`
        self.reader: Reader | None = None  # puts instructions into the policy's own words: `vla_agent.models.reader`
        self.reading: Reading | None = None  # of the instruction, where there is a reader
        self.engine: Any = None  # replaces backbone and head in `act`; see `vla_agent.policy.speed.openvino`
        self._text: Any = None  # the backbone's encoding of the instruction
        self._generator = torch.Generator()

    @torch.inference_mode()
    def reset(self, instruction: str, seed: int = 0) -> None:
        """Begin an episode: read and encode the instruction once, and seed the denoising noise."""
        self.eval()
        self.forget()  # where this one cannot be read, the one before must not go on
        self.reading = self.reader.read_task(instruction) if self.reader is not None else None
        words = instruction if self.reading is None else self.reading.text
        self._text = self.backbone.encode_text([words])
        self._generator.manual_seed(seed)
        if self.doubter is not None:
            queries = self.backbone.model.query_logits(self._text.tokens, self._text.mask)
            self.doubter.reset(queries, instruction, words)

    def doubt_with(self, doubter: Doubter | None) -> None:
        """Hold still from now on where the doubter does not see what an instruction names; None: never.

        Raises:
            OptionError: the backbone has no text-free features to look at.
        """
        if doubter is not None and not isinstance(self.backbone, Backbone):
            raise OptionError(
                "this policy cannot doubt",
                key="doubter",
                expected="the pointing backbone",
                found=type(self.backbone).__name__,
                remedy="leave it out",
            )
        self.doubter = doubter
        if isinstance(self.backbone, Backbone):
            self.backbone.keeps_stem = doubter is not None

    @property
    def doubt(self) -> Doubt | None:
        """That the instruction can not be done in the scene of the last observation; None: it says nothing of that."""
        if (unread := self._not_understood) is not None:
            return Doubt(unread.doubt, unread.refusal)
        return self.doubter.doubt if self.doubter is not None else None

    @property
    def refusal(self) -> str | None:
        """Why the last chunk holds the arm still; None where it does not."""
        if (unread := self._not_understood) is not None:
            return unread.refusal
        return self.doubter.doubt.reason if self.doubter and self.doubter.holds and self.doubter.doubt else None

    @property
    def _not_understood(self) -> Reading | None:
        """The reading, where it is refused; what the words themselves say is unsafe goes before."""
        unsafe = self.doubter is not None and self.doubter.unsafe
        return self.reading if self.reading is not None and self.reading.refusal and not unsafe else None

    def forget(self) -> None:
        """Forget the instruction."""
        self._text = self.reading = None

    @torch.inference_mode()
    def act(
        self, observation: dict[str, Any], committed: Committed | None = None, oracle: OraclePoints | None = None
    ) -> np.ndarray:
        """One observation -> chunk (T, A) float32 in the contract's units.

        Args:
            committed: actions that this chunk has to continue (real-time chunking).
            oracle: true positions of target and goal in place of the backbone's estimates (simulation only).

        Raises:
            ObservationError: the observation does not fit the contract.
            CheckpointError: `reset` was not called.
            OptionError: ``oracle`` where `accepts_oracle` is False.
        """
        if self._text is None:
            raise CheckpointError("the policy has no instruction", key="reset", remedy="call reset(instruction) first")
        self.contract.check_observation(observation)
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()  # the outputs of earlier CUDA graphs may be overwritten
        device = self.state_normaliser.shift.device
        with timed_section("copy"):
            start = np.asarray(observation["state"], dtype=np.float32)
            if committed is not None:
                start = future_state(self.contract, start, committed.frozen)
            state = torch.from_numpy(start)[None].to(device)
            images = stack_images(observation["images"], self.contract.camera_names)
        features = (self.engine or self.backbone).features(images, self._text)
        if oracle is not None:
            self._require_oracle()
            features = features | {name: value.to(device) for name, value in oracle.features().items()}
        self._look(features, np.asarray(observation["state"]))
        actions = self._sample(features, state)  # also where it is not wanted: a held chunk takes as long as another
        if self.refusal is not None:
            actions = np.tile(hold(self.contract, start, None), (self.contract.chunk_length, 1))
        if committed is not None:  # the chunk is for the state after the frozen rows; they come first again
            actions = fade_in(self.contract, committed, actions)
        return self.contract.check_chunk(actions)

    def _look(self, features: dict[str, Any], state: np.ndarray) -> None:
        if self.doubter is not None:
            with timed_section("doubt"):
                self.doubter.look(features["stem"], None if self.hand is None else state[self.hand][:2])

    def _sample(self, features: dict[str, Any], state: torch.Tensor) -> np.ndarray:
        """(T, A) of the head for the backbone's features and a state (1, D)."""
        geometry = self.backbone.geometry_of(features, None if self.hand is None else state[:, self.hand])
        inputs = HeadInputs(features["hidden"], self.state_normaliser(state), geometry, features.get("mask"))
        chunk = (self.engine or self.head).sample(inputs, self._generator)
        with timed_section("copy"):
            return self.action_normaliser.inverse(chunk.clamp(-1.5, 1.5))[0].cpu().numpy()

    @property
    def accepts_oracle(self) -> bool:
        """Whether the head's input has explicit points, which `OraclePoints` can replace."""
        return self.backbone.geometry_dim > 0

    def _require_oracle(self) -> None:
        if not self.accepts_oracle:
            raise OptionError(
                "this policy takes no oracle points",
                key="oracle",
                expected="a backbone with explicit points",
                found=type(self.backbone).__name__,
                remedy="leave the oracle out; a gate leaves out its check 'oracle' by itself",
            )

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters of ``backbone`` and ``head``."""
        modules: dict[str, nn.Module] = {"backbone": self.backbone, "head": self.head}
        return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}

    def save(
        self,
        folder: str | PathLike[str],
        dtype: torch.dtype = torch.bfloat16,
        more: Callable[[Path], None] | None = None,
    ) -> None:
        """Write the policy folder whole or not at all, its weights in ``dtype``; other files in it are kept.

        Args:
            more: writes further files into the folder that it is given, before that takes its place.
        """
        with folder_aside(Path(folder), keep=True) as aside:
            self._write(aside, dtype)
            if more:
                more(aside)

    def _write(self, folder: Path, dtype: torch.dtype) -> None:
        backbone, weights = folder / "backbone", folder / "head.safetensors"
        shutil.rmtree(backbone, ignore_errors=True)  # no file of another backbone stays
        if isinstance(self.backbone, VLMBackbone):
            save_vlm(self.backbone, backbone)
        else:
            self.backbone.save(backbone, dtype)
        params = {name for name, _ in self.named_parameters()}
        state = {k: v for k, v in self.state_dict().items() if not k.startswith("backbone.")}
        save_file({k: (v.to(dtype) if k in params else v).contiguous() for k, v in state.items()}, weights)
        files = [*sorted(backbone.rglob("*.safetensors")), weights, *self._write_sight(folder)]
        files += self._write_reader(folder)
        description = {
            "format": FORMAT,
            "contract": self.contract.to_dict(),
            "head": self.head.config.to_dict(),
            "execute": self.execute,
            "parameters": self.parameter_counts(),
            "sha256": {f.relative_to(folder).as_posix(): hash_file(f) for f in files},
        }
        if self.doubter is not None:
            description["doubt"] = self.doubter.settings.to_dict()
        if self.reader is not None:
            description["reader"] = self.reader.settings.to_dict()
        (folder / "policy.json").write_text(json.dumps(description, indent=2) + "\n")

    def _write_sight(self, folder: Path) -> list[Path]:
        file = folder / SIGHT
        file.unlink(missing_ok=True)
        if self.doubter is None:
            return []
        save_file({name: value.contiguous() for name, value in self.doubter.sight.state_dict().items()}, file)
        return [file]

    def _write_reader(self, folder: Path) -> list[Path]:
        shutil.rmtree(folder / READER, ignore_errors=True)
        return [save_reader(self.reader, folder / READER)] if self.reader is not None else []
