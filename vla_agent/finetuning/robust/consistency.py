"""CoPrompt: on perturbed input, the tuned policy is kept near the outputs of the frozen base on the original input.

Roy and Etemad, "Consistency-guided prompt learning for vision-language models", ICLR 2024: a cosine distance between
both models' features; here also between the outputs of both heads for the same noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.models.heads.head_config import HeadInputs
from vla_agent.policy.policy import VLAPolicy


def consistency_loss(
    tuned: VLAPolicy,
    inputs: HeadInputs,
    base: VLAPolicy,
    base_inputs: HeadInputs,
    chunk: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Distance of the tuned policy on perturbed ``inputs`` from the base on the original ``base_inputs``.

    Args:
        chunk: (B, T, A) normalised actions, to which noise of random level is added.
    """
    level = torch.rand(len(chunk), generator=generator).to(chunk.device)
    noise = torch.randn(chunk.shape, generator=generator).to(chunk.device)
    noisy = torch.lerp(chunk, noise, level[:, None, None])
    with torch.no_grad():
        target = base.head.predict(noisy, level, base.head.encode(*base_inputs))
    output = tuned.head.predict(noisy, level, tuned.head.encode(*inputs))
    return _feature_distance(inputs, base_inputs) + F.mse_loss(output, target)


def _feature_distance(inputs: HeadInputs, base_inputs: HeadInputs) -> Tensor:
    """Mean cosine distance of the hidden features; 0 where another wording gives another number of tokens."""
    hidden, target, mask = inputs.features, base_inputs.features.detach(), inputs.mask
    if hidden.shape != target.shape:  # a language model's features hold the instruction's tokens too
        return hidden.new_zeros(())
    distance = 1 - F.cosine_similarity(hidden, target, dim=-1)  # (B, N)
    counts = torch.ones_like(distance) if mask is None else mask.to(distance.dtype)
    return (distance * counts).sum() / counts.sum().clamp_min(1)
