"""CoPrompt: under perturbed input, the tuned policy is kept near what the frozen base makes of the clean input.

Roy and Etemad, "Consistency-guided prompt learning for vision-language models", ICLR 2024: a cosine distance between
both models' features; here also between what both heads answer to the same noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.policy import VLAPolicy

Given = tuple[Tensor, Tensor, Tensor]  # hidden (B, N, C), state (B, D), geometry (B, G)


def consistency_loss(
    tuned: VLAPolicy, given: Given, base: VLAPolicy, base_given: Given, chunk: Tensor, generator: torch.Generator
) -> Tensor:
    """Distance of the tuned policy, given the perturbed input, from the base, given the clean one.

    Args:
        chunk: (B, T, A) normalised actions, around which the heads are asked.
    """
    level = torch.rand(len(chunk), generator=generator)
    noise = torch.randn(chunk.shape, generator=generator)
    noisy = torch.lerp(chunk, noise, level[:, None, None])
    with torch.no_grad():
        wanted = base.head.predict(noisy, level, base.head.encode(*base_given))
    answer = tuned.head.predict(noisy, level, tuned.head.encode(*given))
    apart = 1 - F.cosine_similarity(given[0], base_given[0].detach(), dim=-1)
    return apart.mean() + F.mse_loss(answer, wanted)
