"""Action tokens as in OpenVLA (Kim et al. 2024): each number is one of 256 bins, said one after the other.

    bins said so far --embedding--> tokens (B, S, W) --causal transformer--> logits (B, S, bins)

The order is step by step, dimension by dimension (S = T * A); each is the most likely one given those before it.
Bins divide [-1.5, 1.5] of the normalised chunk, the range that the other heads can reach.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.heads.chunk_transformer import ChunkTransformer, HeadConfig, mean_over_valid
from vla_agent.models.timing_sections import part

RANGE = 1.5


class TokenHead(ChunkTransformer):
    """See the module's head."""

    compilable = ("encode",)  # what follows is another length each time

    def __init__(
        self,
        config: HeadConfig,
        chunk_length: int,
        action_dim: int,
        state_dim: int,
        feature_dim: int,
        geometry_dim: int = 0,
    ) -> None:
        shape, tokens = (chunk_length, action_dim), chunk_length * action_dim
        super().__init__(config, shape, tokens, 0, config.bins, False, state_dim, feature_dim, geometry_dim)
        self.embed = nn.Embedding(config.bins + 1, config.width)  # the last one begins a chunk

    def to_bins(self, chunk: Tensor) -> Tensor:
        """Normalised chunk (B, T, A) -> bins (B, T * A)."""
        place = (chunk.flatten(1) + RANGE) / (2 * RANGE) * self.config.bins
        return place.long().clamp(0, self.config.bins - 1)

    def to_chunk(self, bins: Tensor) -> Tensor:
        """Bins (B, T * A) -> their middles (B, T, A)."""
        middle = (bins + 0.5) / self.config.bins * (2 * RANGE) - RANGE
        return middle.unflatten(1, (self.chunk_length, self.action_dim))

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
        """Cross-entropy of the bins over valid steps, given the true bins before each; ``draws`` means nothing here."""
        bins = self.to_bins(chunk)
        said = F.pad(bins[:, :-1], (1, 0), value=self.config.bins)
        condition = self.encode(features, state, geometry, mask)
        modulation = self.modulate(condition.summary)
        logits = self.run(self.embed(said) + self.position, modulation, condition, causal=True)
        error = F.cross_entropy(logits.transpose(1, 2), bins, reduction="none")
        return mean_over_valid(error.unflatten(1, chunk.shape[1:]).mean(-1), valid)

    @torch.no_grad()
    def sample(
        self,
        features: Tensor,
        state: Tensor,
        geometry: Tensor | None,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The most likely bins one after the other: (B, T, A), normalised."""
        with part("head: condition"):
            condition = self.encode(features, state, geometry, mask)
            modulation = self.modulate(condition.summary)
        past: list[list[Tensor]] = [[] for _ in self.blocks]
        said = [torch.full((len(state),), self.config.bins, device=state.device)]
        for position in self.position:
            with part("head: tokens"):
                x = (self.embed(said[-1]) + position)[:, None]
                said.append(self.run(x, modulation, condition, past=past)[:, 0].argmax(-1))
        return self.to_chunk(torch.stack(said[1:], dim=1))
