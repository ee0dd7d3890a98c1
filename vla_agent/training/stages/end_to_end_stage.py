"""The small backbone and the head together, from images to action chunks, on demonstrations of any kind.

Nothing is asked of the data but images, state, actions and an instruction.  Where a frame has annotations, the pointing
losses of stage 1 are added; others do without.  What keeps the policy from ignoring the images is that of the head's
stage (`head_stage`): first frames are drawn more often, and the state is masked in a fraction of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_vlm import Pointing
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations
from vla_agent.training.recipe import EndToEnd
from vla_agent.training.stages.augmentation import augment
from vla_agent.training.stages.head_stage import ImageDelays, choose_frames, head_inputs
from vla_agent.training.stages.pointing_losses import move_loss, plane_loss, pointing_losses
from vla_agent.training.stages.task_balance import TaskBalance

LARGEST_ACTION = 1.5  # normalised; what lies beyond is clipped


@dataclass(frozen=True)
class ChunkBatch:
    """Samples of a batch.

    images: (B, V, H, W, 3) uint8.  ids, mask: (I, L) of I instructions.  text_of: (B,) number of each sample's.
    state: (B, D) in the contract's units.  chunk: (B, T, A) normalised.  valid: (B, T).
    points: (B, V, R, 3) u, v, inside.  located: (B, R, 3) metres; both NaN where nothing is annotated.
    """

    images: Tensor
    ids: Tensor
    mask: Tensor
    text_of: Tensor
    state: Tensor
    chunk: Tensor
    valid: Tensor
    points: Tensor
    located: Tensor

    def to(self, device: torch.device) -> ChunkBatch:
        """The same batch on a device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class EndToEndBatches:
    """Draws batches.

    Args:
        weights: of the episodes (n,), by which their frames are drawn; None: all alike.
    """

    def __init__(
        self, policy: VLAPolicy, demos: Demonstrations, settings: EndToEnd, weights: np.ndarray | None = None
    ) -> None:
        self.policy, self.demos, self.settings = policy, demos, settings
        self.frames = choose_frames(demos, settings)
        self.delays = ImageDelays(demos, self.frames, settings.picture_lag) if settings.picture_lag else None
        task = demos.task[self.frames] if settings.balance == "tasks" else np.zeros(len(self.frames), np.int64)
        early = demos.frame[self.frames] < settings.early_frames
        self.rows = TaskBalance(task, early, None if weights is None else weights[demos.episode[self.frames]])
        self.ids, self.mask = policy.backbone.tokenize(demos.instructions)

    def draw(self, generator: torch.Generator) -> ChunkBatch:
        """One batch; the same for a generator in the same state."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        index = self.rows.draw(self.settings, rng)
        frames, demos, contract = self.frames[index], self.demos, self.policy.contract
        later, state = (frames, demos.state[frames]) if self.delays is None else self.delays.draw(index, rng)
        chunk, valid = demos.chunks(later, contract.chunk_length)
        tasks, text_of = np.unique(demos.task[frames], return_inverse=True)
        longest = int(self.mask[tasks].sum(1).max())
        return ChunkBatch(
            images=torch.from_numpy(demos.images_of(frames)),
            ids=self.ids[tasks, :longest],
            mask=self.mask[tasks, :longest],
            text_of=torch.from_numpy(text_of),
            state=torch.from_numpy(state),
            chunk=torch.from_numpy(chunk),
            valid=torch.from_numpy(valid),
            points=torch.from_numpy(demos.points[frames]),
            located=torch.from_numpy(demos.located[frames]),
        )


class EndToEndLosses(nn.Module):
    """A policy whose forward gives the stage's losses.

    Args:
        pointing: weight of the pointing losses; 0 where no frame is annotated.
    """

    def __init__(self, policy: VLAPolicy, settings: EndToEnd, pointing: float) -> None:
        super().__init__()
        self.policy, self.settings, self.pointing = policy, settings, pointing

    def forward(self, batch: ChunkBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """``chunk``, and with annotations map, point, seen, locate, move."""
        policy, s = self.policy, self.settings
        assert isinstance(policy.backbone, Backbone)
        images, points, located = augment(batch.images, batch.points, batch.located, s.augment, generator)
        model = policy.backbone.model
        tokens, summary = model.text(batch.ids, batch.mask)
        f4 = model.encode_images(policy.backbone.pixels(images))
        out = model.fuse(f4, tokens[batch.text_of], summary[batch.text_of], batch.mask[batch.text_of])
        inputs = head_inputs(policy, policy.backbone.named_features(out), batch.state, s, generator)
        chunk = policy.action_normaliser(batch.chunk).clamp(-LARGEST_ACTION, LARGEST_ACTION)
        losses = {"chunk": policy.head.loss(inputs, chunk, batch.valid, s.draws, generator)}
        return losses | (self._pointing(out, points, located) if self.pointing else {})

    def _pointing(self, out: Pointing, points: Tensor, located: Tensor) -> dict[str, Tensor]:
        """The losses of stage 1 on the frames of a batch that are annotated; 0 where none is."""
        model = self.policy.backbone.model
        size = tuple(model.config.image_size)
        losses = pointing_losses(out, points, located, size)
        if model.config.move_kernel:
            losses["move"] = move_loss(out, points, size)
        losses["locate"] = losses["locate"] + plane_loss(model, points, located)
        return {name: self.pointing * loss for name, loss in losses.items()}
