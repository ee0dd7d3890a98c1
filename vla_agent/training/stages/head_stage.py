"""Stage 2: the head, on features that the frozen backbone computed once, or together with a backbone that learns too.

Known pitfall, handled: the arm's own position tells where the expert was going, so that a policy can ignore the images
(causal confusion, de Haan et al. 2019).  Three things prevent it: demonstrations start anywhere and hold bursts of
disturbance, first frames are drawn more often, and the state vector is masked in a fraction of the samples.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vla_agent.files.canonical_json import digest
from vla_agent.files.write_aside import write_text
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone
from vla_agent.models.heads.head_config import HeadInputs
from vla_agent.models.state_fields import gripper_columns
from vla_agent.policy.execution.future_state import future_state
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations
from vla_agent.training.recipe import ChunkStage, TrainHead


@dataclass(frozen=True)
class Features:
    """The backbone's features of the chosen frames (n,): parts (n, ...), ``hidden`` in fp16; memory maps."""

    frames: np.ndarray
    parts: dict[str, np.ndarray]


def choose_frames(demos: Demonstrations, settings: ChunkStage) -> np.ndarray:
    """Clean frames, at which a chunk can start: all first frames, then every ``frame_stride``-th."""
    keep = demos.clean & ((demos.frame < settings.early_frames) | (demos.frame % settings.frame_stride == 0))
    return np.flatnonzero(keep)


@torch.inference_mode()
def compute_features(
    backbone: Backbone | VLMBackbone, demos: Demonstrations, frames: np.ndarray, folder: Path, batch: int = 128
) -> Features:
    """Compute the features of ``frames`` once and keep them in ``folder``; interrupted work is continued.

    Features of other datasets than these, by their hash, are computed again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done_file, data = folder / "done.json", digest([demos.hashes, len(frames)])
    kept = json.loads(done_file.read_text()) if done_file.is_file() else {}
    done = kept["done"] if kept.get("data") == data else 0
    maps = {f.stem: np.lib.format.open_memmap(f, mode="r+") for f in folder.glob("*.npy")} if done else {}
    backbone.eval()
    text: Any = backbone.encode_text(demos.instructions)
    starts = range(done, len(frames), batch)
    for count, start in enumerate(track(starts, description="features", disable=not starts)):
        part = frames[start : start + batch]
        images, instructions = torch.from_numpy(demos.images_of(part)), text.pick(torch.from_numpy(demos.task[part]))
        for key, value in backbone.features(images, instructions).items():
            array = value.cpu().numpy()
            if key not in maps:
                dtype = np.float16 if key == "hidden" else array.dtype
                shape = (len(frames), *array.shape[1:])
                maps[key] = np.lib.format.open_memmap(folder / f"{key}.npy", mode="w+", dtype=dtype, shape=shape)
            maps[key][start : start + len(part)] = array
        if count % 100 == 99 or start + batch >= len(frames):
            for array_map in maps.values():
                array_map.flush()
            write_text(done_file, json.dumps({"done": min(start + batch, len(frames)), "data": data}))
    return Features(frames, {f.stem: np.load(f, mmap_mode="r") for f in sorted(folder.glob("*.npy"))})


class HeadBatches:
    """Draws batches of features and chunks and computes the stage's loss.

    Args:
        features: of ``frames``; None: the backbone computes them in each step, and may learn.
        weights: (n,) of ``frames``, by which they are drawn; None: all equally often.
    """

    def __init__(
        self,
        policy: VLAPolicy,
        demos: Demonstrations,
        frames: np.ndarray,
        features: Features | None,
        settings: TrainHead,
        weights: np.ndarray | None = None,
    ) -> None:
        self.policy, self.settings, self.features, self.weights = policy, settings, features, weights
        self.demos, self.frames = demos, frames
        chunk, self.valid = demos.chunks(frames, policy.contract.chunk_length)
        self.state = torch.from_numpy(demos.state[frames])
        self.delays = ImageDelays(demos, frames, settings.picture_lag) if settings.picture_lag else None
        self.chunk = policy.action_normaliser(torch.from_numpy(chunk)).clamp(-1.5, 1.5)
        self.early = np.flatnonzero(demos.frame[frames] < settings.early_frames)

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's loss."""
        s = self.settings
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        index = draw_rows(self.early, len(self.state), s, rng, self.weights)
        features = self._features(index)
        state, chunk, valid = self._targets(index, rng)
        inputs = head_inputs(self.policy, features, state, s, generator)
        loss = self.policy.head.loss(inputs, chunk, valid, s.draws, generator)
        return {"denoise": loss}

    def _targets(self, index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """State (B, D), normalised chunk (B, T, A) and its valid steps (B, T) of these rows."""
        if self.delays is None:
            return self.state[index], self.chunk[index], torch.from_numpy(self.valid[index])
        contract = self.policy.contract
        later, state = self.delays.draw(index, rng)
        chunk, valid = self.demos.chunks(later, contract.chunk_length)
        normalised = self.policy.action_normaliser(torch.from_numpy(chunk)).clamp(-1.5, 1.5)
        return torch.from_numpy(state), normalised, torch.from_numpy(valid)

    def _features(self, index: np.ndarray) -> dict[str, Tensor]:
        """The backbone's features of these rows."""
        if self.features is not None:
            return {key: torch.from_numpy(array[index]) for key, array in self.features.parts.items()}
        backbone, frames = self.policy.backbone, self.frames[index]
        text: Any = backbone.encode_text([self.demos.instructions[task] for task in self.demos.task[frames]])
        return backbone.features(torch.from_numpy(self.demos.images_of(frames)), text)


class ImageDelays:
    """Images older than the state, as a policy with inference latency gets them in real-time chunking.

    The state is predicted from the image's frame and the actions since (`execution.future_state`), not measured: the
    policy is given the same when it is executed (VLASH: Tang et al. 2025).

    Args:
        frames: (n,) whose images are used.  longest: delay in control periods.
    """

    def __init__(self, demos: Demonstrations, frames: np.ndarray, longest: int) -> None:
        self.frames = frames
        steps = np.minimum(frames[:, None] + np.arange(longest + 1), len(demos) - 1)
        inside = (demos.episode[steps] == demos.episode[frames][:, None]) & demos.clean[steps]
        inside &= frames[:, None] + np.arange(longest + 1) < len(demos)
        self.longest = np.logical_and.accumulate(inside, axis=1).sum(axis=1) - 1  # (n,) >= 0, since frames are clean
        action, state = demos.action[steps], demos.state[frames]
        self.states = np.stack([future_state(demos.contract, state, action[:, :delay]) for delay in range(longest + 1)])

    def draw(self, index: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Frames (B,) whose chunks are the targets, and the predicted states (B, D) there."""
        delay = rng.integers(1, len(self.states), len(index)) * rng.integers(0, 2, len(index))
        delay = np.minimum(delay, self.longest[index])
        return self.frames[index] + delay, self.states[delay, index]


def draw_rows(
    early: np.ndarray,
    count: int,
    settings: TrainHead,
    rng: np.random.Generator,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Rows of a batch among ``count``: a fraction of them from ``early``, the rows of first frames.

    With ``weights`` (count,) each row is drawn as often as its weight says, in both parts.
    """
    if weights is not None:
        early = early[weights[early] > 0]
    first = round(settings.batch * settings.early_share) if len(early) else 0
    if weights is not None:
        rows = np.arange(count)
        return np.concatenate(
            [
                weighted_choice(part, weights, size, rng)
                for part, size in ((early, first), (rows, settings.batch - first))
            ]
        )
    return np.concatenate([rng.choice(early, first), rng.integers(count, size=settings.batch - first)])


def weighted_choice(rows: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` of ``rows``, each as often as its entry in ``weights``, which is over all rows."""
    own = weights[rows]
    return rng.choice(rows, count, p=own / own.sum()) if count else rows[:0]


def head_inputs(
    policy: VLAPolicy, features: dict[str, Tensor], state: Tensor, settings: ChunkStage, generator: torch.Generator
) -> HeadInputs:
    """The head's inputs in training: the state is masked in a fraction of the samples, located positions are noisy.

    Args:
        features: of the backbone (`Backbone.features`).  state: (B, D) in the contract's units.
    """
    if "located" in features:
        noise = torch.randn(features["located"].shape, generator=generator) * settings.located_noise
        features = features | {"located": features["located"] + noise.to(state.device)}
    geometry = policy.backbone.geometry_of(features, None if policy.hand is None else state[:, policy.hand])
    hide = torch.rand(len(state), 1, generator=generator) < settings.state_dropout
    vector = policy.state_normaliser(state)
    visible = torch.zeros(vector.shape[1], dtype=torch.bool)
    visible[gripper_columns(policy.contract)] = True
    masked = vector.masked_fill((hide & ~visible).to(state.device), 0.0)
    return HeadInputs(features["hidden"].float(), masked, geometry, features.get("mask"))
