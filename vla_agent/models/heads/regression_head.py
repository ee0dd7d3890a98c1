"""L1 regression as in OpenVLA-OFT (Kim et al. 2025): the whole chunk at once, no noise, one pass.

learned queries (B, T/p, W) --transformer--> chunk (B, T, A)
"""

from __future__ import annotations

import torch
from torch import Tensor

from vla_agent.models.heads.chunk_transformer import ChunkTransformer, HeadConfig, mean_over_valid
from vla_agent.models.timing_sections import part


class RegressionHead(ChunkTransformer):
    """See the module's head."""

    compilable = ("forward",)

    def __init__(
        self,
        config: HeadConfig,
        chunk_length: int,
        action_dim: int,
        state_dim: int,
        feature_dim: int,
        geometry_dim: int = 0,
    ) -> None:
        shape, tokens, size = (chunk_length, action_dim), chunk_length // config.patch, config.patch * action_dim
        super().__init__(config, shape, tokens, 0, size, False, state_dim, feature_dim, geometry_dim)

    def forward(self, features: Tensor, state: Tensor, geometry: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """One observation -> chunk (B, T, A), normalised."""
        condition = self.encode(features, state, geometry, mask)
        queries, modulation = self.position.expand(len(state), -1, -1), self.modulate(condition.summary)
        return self.run(queries, modulation, condition).reshape(-1, self.chunk_length, self.action_dim)

    def loss(
        self,
        features: Tensor,
        state: Tensor,
        geometry: Tensor | None,
        chunk: Tensor,
        valid: Tensor,
        draws: int = 1,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Mean absolute error over valid steps; there is no noise, so that ``draws`` has no meaning."""
        return mean_over_valid((self(features, state, geometry, mask) - chunk).abs().mean(-1), valid)

    @torch.no_grad()
    def sample(
        self,
        features: Tensor,
        state: Tensor,
        geometry: Tensor | None,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The chunk (B, T, A), normalised; the same for any generator."""
        with part("head: one pass"):
            return self(features, state, geometry, mask)
