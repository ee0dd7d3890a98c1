"""Stage 2: the head, on features that the frozen backbone computed once, or together with a backbone that learns too.

The proprioception shortcut (an arm's own position tells where the expert was going, so the picture goes unread) is
closed in three ways: demonstrations begin anywhere and hold bursts of disturbance, first frames are drawn more often,
and the state vector is hidden in a share of the samples.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations
from vla_agent.training.recipe import TrainHead


@dataclass(frozen=True)
class Features:
    """What the backbone says of the chosen frames (n,): its parts (n, ...), hidden in fp16; memory maps."""

    frames: np.ndarray
    parts: dict[str, np.ndarray]


def choose_frames(demos: Demonstrations, settings: TrainHead) -> np.ndarray:
    """Frames that can begin a chunk: clean ones; all first frames, then every ``frame_stride``-th."""
    keep = demos.clean & ((demos.frame < settings.early_frames) | (demos.frame % settings.frame_stride == 0))
    return np.flatnonzero(keep)


@torch.inference_mode()
def compute_features(
    backbone: Backbone | VLMBackbone, demos: Demonstrations, frames: np.ndarray, folder: Path, batch: int = 128
) -> Features:
    """Run the backbone over ``frames`` once and keep what it says in ``folder``; interrupted work is taken up again."""
    folder.mkdir(parents=True, exist_ok=True)
    done_file = folder / "done.json"
    done = json.loads(done_file.read_text())["done"] if done_file.is_file() else 0
    maps = {f.stem: np.lib.format.open_memmap(f, mode="r+") for f in folder.glob("*.npy")} if done else {}
    backbone.eval()
    text: Any = backbone.encode_text(demos.instructions)
    starts = range(done, len(frames), batch)
    for count, start in enumerate(track(starts, description="features", disable=not starts)):
        part = frames[start : start + batch]
        said = backbone.features(torch.from_numpy(demos.pictures(part)), text.pick(torch.from_numpy(demos.task[part])))
        for key, value in said.items():
            array = value.cpu().numpy()
            if key not in maps:
                kind = np.float16 if key == "hidden" else array.dtype
                shape = (len(frames), *array.shape[1:])
                maps[key] = np.lib.format.open_memmap(folder / f"{key}.npy", mode="w+", dtype=kind, shape=shape)
            maps[key][start : start + len(part)] = array
        if count % 100 == 99 or start + batch >= len(frames):
            for whole in maps.values():
                whole.flush()
            aside = done_file.with_suffix(".part")
            aside.write_text(json.dumps({"done": min(start + batch, len(frames))}))
            os.replace(aside, done_file)
    return Features(frames, {f.stem: np.load(f, mmap_mode="r") for f in sorted(folder.glob("*.npy"))})


class HeadBatches:
    """Draws batches of features and chunks and gives the stage's loss.

    Args:
        features: kept ones of ``frames``, or None: the backbone computes them in each step, and may learn.
    """

    def __init__(
        self,
        policy: VLAPolicy,
        demos: Demonstrations,
        frames: np.ndarray,
        features: Features | None,
        settings: TrainHead,
    ) -> None:
        self.policy, self.settings, self.features = policy, settings, features
        self.demos, self.frames = demos, frames
        chunk, self.valid = demos.chunks(frames, policy.contract.chunk_length)
        self.state = torch.from_numpy(demos.state[frames])
        self.lags = Lags(demos, frames, settings.picture_lag) if settings.picture_lag else None
        self.chunk = policy.action_normaliser(torch.from_numpy(chunk)).clamp(-1.5, 1.5)
        self.early = np.flatnonzero(demos.frame[frames] < settings.early_frames)

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        s = self.settings
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        index = draw_rows(self.early, len(self.state), s, rng)
        parts = self._parts(index)
        state, chunk, valid = self._answers(index, rng)
        given = conditions(self.policy, parts, state, s, generator)
        loss = self.policy.head.loss(*given, chunk, valid, draws=s.draws, generator=generator, mask=parts.get("mask"))
        return {"denoise": loss}

    def _answers(self, index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """State (B, D), normalised chunk (B, T, A) and its valid steps (B, T) of the frames with these numbers."""
        if self.lags is None:
            return self.state[index], self.chunk[index], torch.from_numpy(self.valid[index])
        contract = self.policy.contract
        later, state = self.lags.draw(index, rng)
        chunk, valid = self.demos.chunks(later, contract.chunk_length)
        normalised = self.policy.action_normaliser(torch.from_numpy(chunk)).clamp(-1.5, 1.5)
        return torch.from_numpy(state), normalised, torch.from_numpy(valid)

    def _parts(self, index: np.ndarray) -> dict[str, Tensor]:
        """What the backbone says of the frames with these numbers."""
        if self.features is not None:
            return {key: torch.from_numpy(array[index]) for key, array in self.features.parts.items()}
        backbone, frames = self.policy.backbone, self.frames[index]
        text: Any = backbone.encode_text([self.demos.instructions[task] for task in self.demos.task[frames]])
        return backbone.features(torch.from_numpy(self.demos.pictures(frames)), text)


class Lags:
    """Pictures older than the state that is acted from, as real-time chunking shows them to a policy that thinks long.

    The state is the one that the picture's frame and the actions since lead to (`execution.future_state`), not the
    measured one: that is what the policy will be given (VLASH: Tang et al. 2025).

    Args:
        frames: (n,) those whose pictures are used.  most: the longest lag in control periods.
    """

    def __init__(self, demos: Demonstrations, frames: np.ndarray, most: int) -> None:
        self.frames = frames
        steps = np.minimum(frames[:, None] + np.arange(most + 1), len(demos) - 1)
        inside = (demos.episode[steps] == demos.episode[frames][:, None]) & demos.clean[steps]
        inside &= frames[:, None] + np.arange(most + 1) < len(demos)
        self.longest = np.logical_and.accumulate(inside, axis=1).sum(axis=1) - 1  # (n,) at least 0: frames are clean
        action, state = demos.action[steps], demos.state[frames]
        self.states = np.stack([future_state(demos.contract, state, action[:, :lag]) for lag in range(most + 1)])

    def draw(self, index: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Frames (B,) whose chunks are the answers, and the states (B, D) that they begin in."""
        lag = rng.integers(1, len(self.states), len(index)) * rng.integers(0, 2, len(index))
        lag = np.minimum(lag, self.longest[index])
        return self.frames[index] + lag, self.states[lag, index]


def draw_rows(early: np.ndarray, count: int, settings: TrainHead, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch among ``count``: a share of them from ``early``, the rows of first frames."""
    first = round(settings.batch * settings.early_share) if len(early) else 0
    return np.concatenate([rng.choice(early, first), rng.integers(count, size=settings.batch - first)])


def conditions(
    policy: VLAPolicy, parts: dict[str, Tensor], state: Tensor, settings: TrainHead, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What the head is given in training: hidden, normalised state (hidden in a share of the samples), geometry.

    Args:
        parts: what the backbone says (`Backbone.features`).  state: (B, D) in the contract's units.
    """
    if "located" in parts:
        noise = torch.randn(parts["located"].shape, generator=generator) * settings.located_noise
        parts = parts | {"located": parts["located"] + noise.to(state.device)}
    numbers = policy.backbone.geometry_of(parts, state[:, :3])
    hide = torch.rand(len(state), 1, generator=generator) < settings.state_dropout
    vector = policy.state_normaliser(state)
    visible = torch.zeros(vector.shape[1], dtype=torch.bool)
    visible[_gripper_column(policy)] = True
    return parts["hidden"].float(), vector.masked_fill((hide & ~visible).to(state.device), 0.0), numbers


def _gripper_column(policy: VLAPolicy) -> int:
    """Where the gripper's opening stands in the state vector."""
    start = 0
    for field in policy.contract.state:
        if field.name == "gripper":
            return start
        start += field.size
    return -1
