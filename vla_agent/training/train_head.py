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
        early = round(s.batch * s.early_share) if len(self.early) else 0
        index = np.concatenate([rng.choice(self.early, early), rng.integers(len(self.state), size=s.batch - early)])
        f = self.features
        hidden = torch.from_numpy(f.hidden[index]).float()
        located = torch.from_numpy(f.located[index])
        located = located + torch.randn(located.shape, generator=generator) * s.located_noise
        numbers = geometry(
            torch.from_numpy(f.points[index]), torch.from_numpy(f.seen[index]), located, self.state[index][:, :3]
        )
        state = self.state[index]
        hide = torch.rand(s.batch, 1, generator=generator) < s.state_dropout
        vector = self.policy.state_normaliser(state)
        gripper = _gripper_column(self.policy)
        visible = torch.zeros(vector.shape[1], dtype=torch.bool)
        visible[gripper] = True
        vector = torch.where(hide & ~visible, torch.zeros(()), vector)
        loss = self.policy.head.loss(
            hidden,
            vector,
            numbers,
            self.chunk[index],
            torch.from_numpy(self.valid[index]),
            draws=s.draws,
            generator=generator,
        )
        return {"denoise": loss}


def _gripper_column(policy: VLAPolicy) -> int:
    """Where the gripper's opening stands in the state vector."""
    start = 0
    for field in policy.contract.state:
        if field.name == "gripper":
            return start
        start += field.size
    return -1
