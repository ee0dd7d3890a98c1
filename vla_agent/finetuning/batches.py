"""Batches of demonstrations for fine-tuning."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from vla_agent.finetuning.dataset_mixture import Mixture
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.finetuning.robust.wordings import rewordings
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations
from vla_agent.training.scores.score_file import episode_weights
from vla_agent.training.stages.augmentation import augment
from vla_agent.training.stages.head_stage import choose_frames

LARGEST_ACTION = 1.5  # normalised; what lies beyond is clipped


@dataclass(frozen=True)
class Batch:
    """A piece of a batch.

    images, original_images: (B, V, H, W, 3) uint8, augmented and as recorded.
    instructions, original_instructions: (B,), perhaps reworded, and as recorded.
    state: (B, D) in the contract's units.  chunk: (B, T, A) normalised.  valid: (B, T).
    points: (B, V, R, 3) u, v, inside.  located: (B, R, 3) metres.
    """

    images: Tensor
    original_images: Tensor
    instructions: list[str]
    original_instructions: list[str]
    state: Tensor
    chunk: Tensor
    valid: Tensor
    points: Tensor
    located: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved)


class BatchSampler:
    """Draws batches.

    Args:
        pieces: of the global batch; one of them is drawn at a time.

    Attributes:
        clipped: (A,) fraction of the actions that the base's normaliser clips.
        seconds: sum of the time that drawing took.
    """

    def __init__(self, policy: VLAPolicy, demos: Demonstrations, recipe: FineTune, pieces: int = 1) -> None:
        self.demos, self.recipe, self.seconds = demos, recipe, 0.0
        self.settings = recipe.train.model_copy(update={"batch": recipe.train.batch // pieces})
        self.frames = choose_frames(demos, recipe.train)
        chunk, self.valid = demos.chunks(self.frames, policy.contract.chunk_length)
        scaled = policy.action_normaliser(torch.from_numpy(chunk))
        inside = scaled[torch.from_numpy(self.valid) > 0].abs() <= LARGEST_ACTION
        self.clipped = 1 - inside.float().mean(0)
        self.chunk = scaled.clamp(-LARGEST_ACTION, LARGEST_ACTION)
        dataset = np.searchsorted(demos.first, self.frames, side="right") - 1
        early = demos.frame[self.frames] < recipe.train.early_frames
        by_episode = episode_weights(recipe.data, demos, recipe.data.demonstrations)
        row_weights = None if by_episode is None else by_episode[demos.episode[self.frames]]
        self.mixture = Mixture(dataset, early, recipe.data.demonstrations, recipe.data.weights, row_weights)
        self.wordings = [rewordings(t) if recipe.robust.wordings else (t,) for t in demos.instructions]

    def draw(self, generator: torch.Generator) -> Batch:
        """One piece of a batch; the same for a generator in the same state."""
        started = time.perf_counter()
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        rows = self.mixture.draw(self.settings, rng)
        frames, demos = self.frames[rows], self.demos
        original = torch.from_numpy(demos.images_of(frames))
        points, located = torch.from_numpy(demos.points[frames]), torch.from_numpy(demos.located[frames])
        images, points, located = augment(original, points, located, self.recipe.robust.augment, generator)
        batch = Batch(
            images,
            original,
            [self.wordings[t][rng.integers(len(self.wordings[t]))] for t in demos.task[frames]],
            [demos.instructions[t] for t in demos.task[frames]],
            torch.from_numpy(demos.state[frames]),
            self.chunk[rows],
            torch.from_numpy(self.valid[rows]),
            points,
            located,
        )
        self.seconds += time.perf_counter() - started
        return batch
