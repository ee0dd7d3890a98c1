"""CoPrompt: under perturbed input, the tuned policy is kept near what the frozen base makes of the clean input.

Roy and Etemad, "Consistency-guided prompt learning for vision-language models", ICLR 2024: a cosine distance between
both models' features; here also between what both heads answer to the same noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.policy.policy import VLAPolicy

# hidden (B, N, C), state (B, D), geometry (B, G) or None, mask (B, N) or None
Given = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def consistency_loss(
    tuned: VLAPolicy, given: Given, base: VLAPolicy, base_given: Given, chunk: Tensor, generator: torch.Generator
) -> Tensor:
    """Distance of the tuned policy, given the perturbed input, from the base, given the clean one.

    Args:
        chunk: (B, T, A) normalised actions, around which the heads are asked.
    """
    level = torch.rand(len(chunk), generator=generator).to(chunk.device)
    noise = torch.randn(chunk.shape, generator=generator).to(chunk.device)
    noisy = torch.lerp(chunk, noise, level[:, None, None])
    with torch.no_grad():
        wanted = base.head.predict(noisy, level, base.head.encode(*base_given))
    answer = tuned.head.predict(noisy, level, tuned.head.encode(*given))
    return _apart(given, base_given) + F.mse_loss(answer, wanted)


def _apart(given: Given, base_given: Given) -> Tensor:
    """Mean cosine distance of the features that both have; 0 where other words make another number of tokens."""
    hidden, wanted, mask = given[0], base_given[0].detach(), given[3]
    if hidden.shape != wanted.shape:  # a language model's features hold the instruction's tokens too
        return hidden.new_zeros(())
    apart = 1 - F.cosine_similarity(hidden, wanted, dim=-1)  # (B, N)
    counts = torch.ones_like(apart) if mask is None else mask.to(apart.dtype)
    return (apart * counts).sum() / counts.sum().clamp_min(1)
