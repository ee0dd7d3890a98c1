"""L1 regression as in OpenVLA-OFT (Kim et al. 2025): the whole chunk at once, no noise, one forward pass.

learned queries (B, T/p, W) --transformer--> chunk (B, T, A)
"""

from __future__ import annotations

import torch
from torch import Tensor

from vla_agent.models.heads.chunk_transformer import ChunkTransformer, mean_over_valid
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs
from vla_agent.models.timing_sections import timed_section


class RegressionHead(ChunkTransformer):
    """See the module's head."""

    compilable = ("forward",)  # see `vla_agent.policy.speed.compiling`

    def __init__(self, config: HeadConfig, dims: HeadDims) -> None:
        tokens, size_out = dims.chunk_length // config.patch, config.patch * dims.action_dim
        super().__init__(config, dims, tokens, 0, size_out, levels=False)

    def forward(self, features: Tensor, state: Tensor, geometry: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """`HeadInputs` of one observation -> chunk (B, T, A), normalised."""
        condition = self.encode(features, state, geometry, mask)
        queries, modulation = self.position.expand(len(state), -1, -1), self.modulate(condition.summary)
        return self.run(queries, modulation, condition).reshape(-1, self.chunk_length, self.action_dim)

    def loss(
        self, inputs: HeadInputs, chunk: Tensor, valid: Tensor, draws: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean absolute error over valid steps; without noise, ``draws`` and ``generator`` change nothing."""
        return mean_over_valid((self(*inputs) - chunk).abs().mean(-1), valid)

    @torch.no_grad()
    def sample(self, inputs: HeadInputs, generator: torch.Generator | None = None) -> Tensor:
        """The chunk (B, T, A), normalised; the same for any generator."""
        with timed_section("head: one pass"):
            return self(*inputs)
