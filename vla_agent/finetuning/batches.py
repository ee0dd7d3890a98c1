"""Batches of demonstrations for fine-tuning, and the losses of a policy on them, from pictures to actions."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from vla_agent.adapters.adalora_ranks import Ranks
from vla_agent.adapters.attach import Attached
from vla_agent.finetuning.dataset_mixture import Mixture
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.finetuning.robust.augment import augment
from vla_agent.finetuning.robust.consistency import Given, consistency_loss
from vla_agent.finetuning.robust.tram import sharpness_aware
from vla_agent.finetuning.robust.wordings import other_words
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_vlm import Pointing
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.demonstrations import Demonstrations
from vla_agent.training.stages.head_stage import choose_frames, conditions
from vla_agent.training.stages.pointing_stage import pointing_losses

ORTHOGONAL = 0.1  # weight of adalora's penalty


@dataclass(frozen=True)
class Batch:
    """images and clean (B, V, H, W, 3) uint8, augmented and as they were; words (B,) what is said, plain what was said;
    state (B, D) raw; chunk (B, T, A) normalised; valid (B, T); points (B, V, R, 3); located (B, R, 3)."""

    images: Tensor
    clean: Tensor
    words: list[str]
    plain: list[str]
    state: Tensor
    chunk: Tensor
    valid: Tensor
    points: Tensor
    located: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        moved = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved)


class Drawing:
    """Draws batches; ``seconds`` adds up the time that the model waits for them.

    Args:
        pieces: of the global batch: what is drawn at a time is one of them.
    """

    def __init__(self, policy: VLAPolicy, demos: Demonstrations, recipe: FineTune, pieces: int = 1) -> None:
        self.demos, self.recipe, self.seconds = demos, recipe, 0.0
        self.settings = recipe.train.model_copy(update={"batch": recipe.train.batch // pieces})
        self.frames = choose_frames(demos, recipe.train)
        chunk, self.valid = demos.chunks(self.frames, policy.contract.chunk_length)
        scaled = policy.action_normaliser(torch.from_numpy(chunk))
        inside = scaled[torch.from_numpy(self.valid) > 0].abs() <= 1.5
        self.cut = 1 - inside.float().mean(0)  # (A,) share of the actions that the base's normaliser cuts off
        self.chunk = scaled.clamp(-1.5, 1.5)
        owner = np.searchsorted(demos.first, self.frames, side="right") - 1
        early = demos.frame[self.frames] < recipe.train.early_frames
        self.mixture = Mixture(owner, early, recipe.data.demonstrations, recipe.data.weights)
        self.words = [other_words(t) if recipe.robust.wordings else (t,) for t in demos.instructions]

    def draw(self, generator: torch.Generator) -> Batch:
        """One piece of a batch; the same for a generator in the same state."""
        begun = time.perf_counter()
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        rows = self.mixture.draw(self.settings, rng)
        frames, demos = self.frames[rows], self.demos
        clean = torch.from_numpy(demos.pictures(frames))
        points, located = torch.from_numpy(demos.points[frames]), torch.from_numpy(demos.located[frames])
        images, points, located = augment(clean, points, located, self.recipe.robust.augment, generator)
        batch = Batch(
            images,
            clean,
            [self.words[t][rng.integers(len(self.words[t]))] for t in demos.task[frames]],
            [demos.instructions[t] for t in demos.task[frames]],
            torch.from_numpy(demos.state[frames]),
            self.chunk[rows],
            torch.from_numpy(self.valid[rows]),
            points,
            located,
        )
        self.seconds += time.perf_counter() - begun
        return batch


class Tuning(nn.Module):
    """What is trained.  Its state is the trained parameters alone (and adalora's memory): checkpoints stay small."""

    def __init__(self, attached: Attached, recipe: FineTune) -> None:
        super().__init__()
        self.attached, self.recipe = attached, recipe
        self.trained = nn.ParameterDict({n.replace(".", "/"): p for n, p in attached.trained().items()})
        self.ranks = Ranks(attached)
        needs_base = recipe.robust.consistency > 0
        self._others = (attached.policy, copy.deepcopy(attached.policy).requires_grad_(False) if needs_base else None)
        parts = attached.adapter.parts()
        self.sees = parts["vision"] != 0 or parts["language"] != 0  # whether the backbone is trained at all
        self.points = recipe.train.pointing if self.sees else 0.0

    @property
    def policy(self) -> VLAPolicy:
        return self._others[0]

    @property
    def base(self) -> VLAPolicy | None:
        """The policy as it was before the training, where an option needs it."""
        return self._others[1]

    def train(self, mode: bool = True) -> Tuning:
        """Norms keep their statistics: a few demonstrations are no substitute for those that they were made from."""
        super().train(mode)
        self.policy.train(mode)
        if not self.recipe.from_scratch:
            for module in self.policy.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        if self.base is not None:
            self.base.eval()
        return self

    def losses_of(self, policy: VLAPolicy, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a policy on a batch."""
        t = self.recipe.train
        parts, out = said(policy, batch.images, batch.words, learn=self.sees)
        mask = parts.get("mask")
        given = conditions(policy, parts, batch.state, t, generator)
        loss = policy.head.loss(*given, batch.chunk, batch.valid, draws=t.draws, generator=generator, mask=mask)
        losses = {"denoise": loss}
        if self.points and out is not None:
            size = (batch.images.shape[2], batch.images.shape[3])
            named = pointing_losses(out, batch.points, batch.located, size)
            losses |= {k: self.points * v for k, v in named.items()}
        if self.base is not None:
            with torch.no_grad():
                clean, _ = said(self.base, batch.clean, batch.plain, learn=False)
                base_given = _unhidden(self.base, clean, batch.state)
            near = consistency_loss(policy, (*given, mask), self.base, base_given, batch.chunk, generator)
            losses["consistency"] = self.recipe.robust.consistency * near
        if self.ranks.tuners:
            losses["upright"] = ORTHOGONAL * self.ranks.upright()
        return losses

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses that a step is taken by."""
        strength = self.recipe.robust.trust_region
        if not strength:
            return self.losses_of(self.policy, batch, generator)
        apart = self._unsteadiness(batch, generator)
        after = generator.get_state()

        def arguments() -> tuple[Tuning, Batch, torch.Generator]:
            generator.set_state(after)
            return self, batch, generator

        trained = {f"policy.{n}": p for n, p in self.attached.trained().items()}
        return sharpness_aware(_OnePolicy(self.policy), trained, arguments, apart, strength)

    def find_again(self) -> None:
        """Take the trained parameters from the policy anew, where sharding has put other objects in their place."""
        for name, parameter in self.attached.trained().items():
            self.trained[name.replace(".", "/")] = parameter

    def to_device(self, device: torch.device) -> None:
        """Move everything that takes part; the trained parameters stay the same objects."""
        for module in (self, self.policy, self.base):
            if module is not None:
                module.to(device)

    @torch.no_grad()
    def _unsteadiness(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """How far the head's answers are apart on a batch and on the same one with noise in its pictures, a number."""
        device = batch.images.device
        noisy_images = batch.images.float() + 8 * torch.randn(batch.images.shape, generator=generator).to(device)
        noisy_images = noisy_images.round().clamp(0, 255).to(torch.uint8)
        level = torch.rand(len(batch.chunk), generator=generator).to(device)
        noise = torch.randn(batch.chunk.shape, generator=generator).to(device)
        noisy = torch.lerp(batch.chunk, noise, level[:, None, None])
        answers = []
        for images in (batch.images, noisy_images):
            parts, _ = said(self.policy, images, batch.words, learn=False)
            given = _unhidden(self.policy, parts, batch.state)
            answers.append(self.policy.head.predict(noisy, level, self.policy.head.encode(*given)))
        return (answers[0] - answers[1]).square().mean().sqrt()


class WholePolicy(nn.Module):
    """A tuning as a module that holds the whole policy, frozen weights too, so that all of it can be shared out."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.policy, self._tuning = tuning.policy, (tuning,)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return self._tuning[0](batch, generator)


class _OnePolicy(nn.Module):
    """A policy as a module whose forward gives a tuning's losses: weights can be put in its place for one call."""

    def __init__(self, policy: VLAPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, tuning: Tuning, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return tuning.losses_of(self.policy, batch, generator)


def said(policy: VLAPolicy, images: Tensor, words: list[str], learn: bool) -> tuple[dict[str, Tensor], Pointing | None]:
    """What the policy's backbone says about pictures (B, V, H, W, 3) and B texts; each text is encoded once.

    Returns:
        its parts, and where it points, which a pretrained vision-language model does not say.
    """
    unique = sorted(set(words))
    index = torch.tensor([unique.index(w) for w in words])
    with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
        backbone = policy.backbone
        if not isinstance(backbone, Backbone):
            return backbone.features(images, backbone.encode_text(unique).pick(index)), None
        out = backbone(images, backbone.encode_text(unique).pick(index))
        return {"hidden": out.hidden, "points": out.points, "seen": out.seen, "located": out.located}, out


def _unhidden(policy: VLAPolicy, out: dict[str, Tensor], state: Tensor) -> Given:
    """What the head is given when it serves: nothing hidden, nothing made noisy."""
    geometry = policy.backbone.geometry_of(out, state[:, :3])
    return out["hidden"], policy.state_normaliser(state), geometry, out.get("mask")
