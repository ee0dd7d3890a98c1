"""All denoising steps of a flow-matching head as one module, which can be traced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_agent.models.heads.diffusion_head import DiffusionHead


class Denoise(nn.Module):
    """A condition and noise in, a normalised chunk out."""

    def __init__(self, head: DiffusionHead) -> None:
        super().__init__()
        self.head = head
        head.flow.set_timesteps(head.config.serve_steps)
        self.levels = [float(t) / 1000 for t in head.flow.timesteps]
        self.sigmas = [float(s) for s in head.flow.sigmas]

    def forward(self, hidden: Tensor, state: Tensor, extra: Tensor, x: Tensor) -> Tensor:
        """Features (B, N, C), normalised state (B, D), noise (B, T, A) -> (B, T, A).

        Args:
            extra: geometry (B, G) where the backbone has it, else the mask (B, N) bool of its hidden tokens.
        """
        masked = extra.dtype == torch.bool
        condition = self.head.serving_condition(hidden, state, None if masked else extra, extra if masked else None)
        levels = torch.tensor(self.levels)[:, None].expand(-1, len(condition.summary))
        modulations = self.head.modulation_at(levels, condition).unbind()
        for i, modulation in enumerate(modulations):
            velocity = self.head.serve(x, levels[i, :1], condition, modulation)
            x = x + (self.sigmas[i + 1] - self.sigmas[i]) * velocity
        return x
