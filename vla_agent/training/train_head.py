"""Stage 2: the diffusion head, on features that the frozen backbone computed once.

The proprioception shortcut (an arm's own position tells where the expert was going, so the picture goes unread) is
closed in three ways: demonstrations begin anywhere and hold bursts of disturbance, first frames are drawn more often,
and the state vector is hidden in a share of the samples.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from vla_agent.models.backbone import Backbone, geometry
from vla_agent.policy import VLAPolicy
from vla_agent.training.data import Demonstrations
from vla_agent.training.recipe import TrainHead

PARTS = ("hidden", "points", "seen", "located")


@dataclass(frozen=True)
class Features:
    """The backbone's output on the chosen frames (n,): fp16 hidden (n, N, C), points, seen, located; memory maps."""

    frames: np.ndarray
    hidden: np.ndarray
    points: np.ndarray
    seen: np.ndarray
    located: np.ndarray


def choose_frames(demos: Demonstrations, settings: TrainHead) -> np.ndarray:
    """Frames that can begin a chunk: clean ones; all first frames, then every ``frame_stride``-th."""
    keep = demos.clean & ((demos.frame < settings.early_frames) | (demos.frame % settings.frame_stride == 0))
    return np.flatnonzero(keep)


@torch.inference_mode()
def compute_features(
    backbone: Backbone, demos: Demonstrations, frames: np.ndarray, folder: Path, batch: int = 128
) -> Features:
    """Run the backbone over ``frames`` once and keep what it says in ``folder``; interrupted work is taken up again."""
    folder.mkdir(parents=True, exist_ok=True)
    done_file = folder / "done.json"
    config = backbone.model.config
    views, roles, c = config.num_views, config.num_roles, config.hidden_size
    tokens = views * roles + views * backbone.model.GRID**2 + 1
    shapes = {"hidden": (tokens, c), "points": (views, roles, 2), "seen": (views, roles), "located": (roles, 3)}
    done = json.loads(done_file.read_text())["done"] if done_file.is_file() else 0
    maps = {
        key: np.lib.format.open_memmap(
            folder / f"{key}.npy",
            mode="r+" if done else "w+",
            dtype=np.float16 if key == "hidden" else np.float32,
            shape=None if done else (len(frames), *shapes[key]),
        )
        for key in PARTS
    }
    backbone.eval()
    text = backbone.encode_text(demos.instructions)
    starts = range(done, len(frames), batch)
    for count, start in enumerate(track(starts, description="features", disable=not starts)):
        part = frames[start : start + batch]
        task = torch.from_numpy(demos.task[part])
        model = backbone.model
        pixels = backbone.pixels(torch.from_numpy(demos.pictures(part)))
        out = model.fuse(model.encode_images(pixels), text.tokens[task], text.summary[task], text.mask[task])
        for key in PARTS:
            maps[key][start : start + len(part)] = getattr(out, key).numpy()
        if count % 100 == 99 or start + batch >= len(frames):
            for array in maps.values():
                array.flush()
            aside = done_file.with_suffix(".part")
            aside.write_text(json.dumps({"done": min(start + batch, len(frames))}))
            os.replace(aside, done_file)
    return Features(frames, **{k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in PARTS})


class HeadBatches:
    """Draws batches of features and chunks and gives the stage's loss."""

    def __init__(self, policy: VLAPolicy, demos: Demonstrations, features: Features, settings: TrainHead) -> None:
        self.policy, self.settings, self.features = policy, settings, features
        frames = features.frames
        chunk, self.valid = demos.chunks(frames, policy.contract.chunk_length)
        self.state = torch.from_numpy(demos.state[frames])
        self.chunk = policy.action_normaliser(torch.from_numpy(chunk)).clamp(-1.5, 1.5)
        self.early = np.flatnonzero(demos.frame[frames] < settings.early_frames)

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        s = self.settings
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        index = draw_rows(self.early, len(self.state), s, rng)
        f = self.features
        said = Said(
            torch.from_numpy(f.hidden[index]).float(),
            *(torch.from_numpy(part[index]) for part in (f.points, f.seen, f.located)),
        )
        valid = torch.from_numpy(self.valid[index])
        return {"denoise": acting_loss(self.policy, said, self.state[index], self.chunk[index], valid, s, generator)}


@dataclass(frozen=True)
class Said:
    """What the backbone says: hidden (B, N, C), points (B, V, R, 2), seen (B, V, R), located (B, R, 3)."""

    hidden: Tensor
    points: Tensor
    seen: Tensor
    located: Tensor


def draw_rows(early: np.ndarray, count: int, settings: TrainHead, rng: np.random.Generator) -> np.ndarray:
    """Rows of a batch among ``count``: a share of them from ``early``, the rows of first frames."""
    first = round(settings.batch * settings.early_share) if len(early) else 0
    return np.concatenate([rng.choice(early, first), rng.integers(count, size=settings.batch - first)])


def conditions(
    policy: VLAPolicy, said: Said, state: Tensor, settings: TrainHead, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What the head is given in training: hidden, normalised state (hidden in a share of the samples), geometry."""
    located = said.located + torch.randn(said.located.shape, generator=generator) * settings.located_noise
    numbers = geometry(said.points, said.seen, located, state[:, :3])
    hide = torch.rand(len(state), 1, generator=generator) < settings.state_dropout
    vector = policy.state_normaliser(state)
    visible = torch.zeros(vector.shape[1], dtype=torch.bool)
    visible[_gripper_column(policy)] = True
    return said.hidden, torch.where(hide & ~visible, torch.zeros(()), vector), numbers


def acting_loss(
    policy: VLAPolicy,
    said: Said,
    state: Tensor,
    chunk: Tensor,
    valid: Tensor,
    settings: TrainHead,
    generator: torch.Generator,
) -> Tensor:
    """The head's loss on normalised chunks (B, T, A) of which the steps ``valid`` (B, T) count; state (B, D) raw."""
    given = conditions(policy, said, state, settings, generator)
    return policy.head.loss(*given, chunk, valid, draws=settings.draws, generator=generator)


def _gripper_column(policy: VLAPolicy) -> int:
    """Where the gripper's opening stands in the state vector."""
    start = 0
    for field in policy.contract.state:
        if field.name == "gripper":
            return start
        start += field.size
    return -1
