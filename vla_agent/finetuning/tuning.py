"""The losses of a policy with adapters, end to end from images to actions, and the parameters that they train."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vla_agent.adapters.adalora_ranks import AdaLoRARanks
from vla_agent.adapters.attach import AdaptedPolicy
from vla_agent.finetuning.batches import Batch
from vla_agent.finetuning.finetune_recipe import FineTune
from vla_agent.finetuning.robust.consistency import consistency_loss
from vla_agent.finetuning.robust.tram import sharpness_aware
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_vlm import Pointing
from vla_agent.models.heads.head_config import HeadInputs
from vla_agent.policy.policy import VLAPolicy
from vla_agent.training.stages.head_stage import head_inputs
from vla_agent.training.stages.pointing_losses import pointing_losses

ORTHOGONALITY = 0.1  # weight of AdaLoRA's penalty
TRAM_IMAGE_NOISE = 8  # standard deviation, of 255


class Tuning(nn.Module):
    """What is trained.  Its state is the trained parameters alone (and AdaLoRA's memory): checkpoints stay small."""

    def __init__(self, attached: AdaptedPolicy, recipe: FineTune) -> None:
        super().__init__()
        self.attached, self.recipe = attached, recipe
        self.trained = nn.ParameterDict({n.replace(".", "/"): p for n, p in attached.trained().items()})
        self.ranks = AdaLoRARanks(attached)
        base = copy.deepcopy(attached.policy).requires_grad_(False) if recipe.robust.consistency > 0 else None
        self._policies = (attached.policy, base)  # in a tuple: their weights do not belong to this module's state
        parts = attached.adapter.parts()
        self.backbone_learns = parts["vision"] != 0 or parts["language"] != 0
        self.pointing_weight = recipe.train.pointing if self.backbone_learns else 0.0

    @property
    def policy(self) -> VLAPolicy:
        return self._policies[0]

    @property
    def base(self) -> VLAPolicy | None:
        """The policy as it was before the training, where an option needs it."""
        return self._policies[1]

    def train(self, mode: bool = True) -> Tuning:
        """Batch norms keep the base's statistics: a few demonstrations are no substitute for its training data."""
        super().train(mode)
        self.policy.train(mode)
        if not self.recipe.from_scratch:
            for module in self.policy.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        if self.base is not None:
            self.base.eval()
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses whose gradients make a step; with ``robust.trust_region`` they are taken at displaced weights."""
        strength = self.recipe.robust.trust_region
        if not strength:
            return self.losses_of(self.policy, batch, generator)
        distance = self._output_distance_under_noise(batch, generator)
        after = generator.get_state()

        def arguments() -> tuple[Tuning, Batch, torch.Generator]:
            generator.set_state(after)
            return self, batch, generator

        trained = {f"policy.{n}": p for n, p in self.attached.trained().items()}
        return sharpness_aware(_PolicyLosses(self.policy), trained, arguments, distance, strength)

    def losses_of(self, policy: VLAPolicy, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a policy on a batch: denoise, the pointing losses, consistency, upright."""
        t = self.recipe.train
        features, out = backbone_features(policy, batch.images, batch.instructions, learn=self.backbone_learns)
        inputs = head_inputs(policy, features, batch.state, t, generator)
        loss = policy.head.loss(inputs, batch.chunk, batch.valid, t.draws, generator)
        losses = {"denoise": loss}
        if self.pointing_weight and out is not None:
            size = tuple(policy.backbone.model.config.image_size)
            named = pointing_losses(out, batch.points, batch.located, size)
            losses |= {k: self.pointing_weight * v for k, v in named.items()}
        if self.base is not None:
            losses["consistency"] = self._consistency(self.base, policy, inputs, batch, generator)
        if self.ranks.tuners:
            losses["upright"] = ORTHOGONALITY * self.ranks.orthogonality_penalty()
        return losses

    def _consistency(
        self, base: VLAPolicy, policy: VLAPolicy, inputs: HeadInputs, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        with torch.no_grad():
            features, _ = backbone_features(base, batch.original_images, batch.original_instructions, learn=False)
            base_inputs = _serving_inputs(base, features, batch.state)
        distance = consistency_loss(policy, inputs, base, base_inputs, batch.chunk, generator)
        return self.recipe.robust.consistency * distance

    @torch.no_grad()
    def _output_distance_under_noise(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Root mean square distance of the head's outputs on a batch and on the same one with noisy images."""
        device = batch.images.device
        noise = torch.randn(batch.images.shape, generator=generator).to(device)
        noisy_images = batch.images.float() + TRAM_IMAGE_NOISE * noise
        noisy_images = noisy_images.round().clamp(0, 255).to(torch.uint8)
        level = torch.rand(len(batch.chunk), generator=generator).to(device)
        noise = torch.randn(batch.chunk.shape, generator=generator).to(device)
        noisy_chunk = torch.lerp(batch.chunk, noise, level[:, None, None])
        outputs = []
        for images in (batch.images, noisy_images):
            features, _ = backbone_features(self.policy, images, batch.instructions, learn=False)
            inputs = _serving_inputs(self.policy, features, batch.state)
            outputs.append(self.policy.head.predict(noisy_chunk, level, self.policy.head.encode(*inputs)))
        return (outputs[0] - outputs[1]).square().mean().sqrt()

    def rebind_parameters(self) -> None:
        """Take the trained parameters from the policy again, after sharding has replaced them by other objects."""
        for name, parameter in self.attached.trained().items():
            self.trained[name.replace(".", "/")] = parameter

    def to_device(self, device: torch.device) -> None:
        """Move this module and both policies; the trained parameters stay the same objects."""
        for module in (self, self.policy, self.base):
            if module is not None:
                module.to(device)


class ShardableTuning(nn.Module):
    """A tuning as a module that holds the whole policy, frozen weights included, so that all of it can be sharded."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.policy, self._tuning = tuning.policy, (tuning,)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return self._tuning[0](batch, generator)


class _PolicyLosses(nn.Module):
    """A policy whose forward gives a tuning's losses, so that `functional_call` can replace its weights."""

    def __init__(self, policy: VLAPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, tuning: Tuning, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return tuning.losses_of(self.policy, batch, generator)


def backbone_features(
    policy: VLAPolicy, images: Tensor, instructions: list[str], learn: bool
) -> tuple[dict[str, Tensor], Pointing | None]:
    """The backbone's features of images (B, V, H, W, 3) and B instructions; each instruction is encoded once.

    Args:
        learn: whether gradients reach the backbone.

    Returns:
        features by name, and the pointing output, None for a pretrained vision-language model.
    """
    unique = sorted(set(instructions))
    index = torch.tensor([unique.index(i) for i in instructions])
    with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
        backbone = policy.backbone
        if not isinstance(backbone, Backbone):
            return backbone.features(images, backbone.encode_text(unique).pick(index)), None
        out = backbone(images, backbone.encode_text(unique).pick(index))
        return backbone.named_features(out), out


def _serving_inputs(policy: VLAPolicy, features: dict[str, Tensor], state: Tensor) -> HeadInputs:
    """The head's inputs as in serving: no state is masked, no noise is added."""
    hand = None if policy.hand is None else state[:, policy.hand]
    geometry = policy.backbone.geometry_of(features, hand)
    return HeadInputs(features["hidden"], policy.state_normaliser(state), geometry, features.get("mask"))
