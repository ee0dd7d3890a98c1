"""Action tokens as in OpenVLA (Kim et al. 2024): each number is one of 256 bins, decoded autoregressively.

    previous bins --embedding--> tokens (B, S, W) --causal transformer--> logits (B, S, bins)

The order is step by step, dimension by dimension (S = T * A); decoding is greedy.
Bins divide [-1.5, 1.5] of the normalised chunk, the range of the other heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.heads.chunk_transformer import ChunkTransformer, mean_over_valid
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs
from vla_agent.models.timing_sections import timed_section

RANGE = 1.5


class TokenHead(ChunkTransformer):
    """See the module's head."""

    compilable = ("encode",)  # the sequence after it has another length at each step

    def __init__(self, config: HeadConfig, dims: HeadDims) -> None:
        super().__init__(config, dims, dims.chunk_length * dims.action_dim, 0, config.bins, levels=False)
        self.embed = nn.Embedding(config.bins + 1, config.width)  # the last entry is the start token

    def to_bins(self, chunk: Tensor) -> Tensor:
        """Normalised chunk (B, T, A) -> bins (B, T * A)."""
        position = (chunk.flatten(1) + RANGE) / (2 * RANGE) * self.config.bins
        return position.long().clamp(0, self.config.bins - 1)

    def to_chunk(self, bins: Tensor) -> Tensor:
        """Bins (B, T * A) -> their centres (B, T, A)."""
        centre = (bins + 0.5) / self.config.bins * (2 * RANGE) - RANGE
        return centre.unflatten(1, (self.chunk_length, self.action_dim))

    def loss(
        self, inputs: HeadInputs, chunk: Tensor, valid: Tensor, draws: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Cross-entropy of the bins over valid steps with teacher forcing; ``draws`` changes nothing."""
        bins = self.to_bins(chunk)
        previous = F.pad(bins[:, :-1], (1, 0), value=self.config.bins)
        condition = self.encode(*inputs)
        modulation = self.modulate(condition.summary)
        logits = self.run(self.embed(previous) + self.position, modulation, condition, causal=True)
        error = F.cross_entropy(logits.transpose(1, 2), bins, reduction="none")
        return mean_over_valid(error.unflatten(1, chunk.shape[1:]).mean(-1), valid)

    @torch.no_grad()
    def sample(self, inputs: HeadInputs, generator: torch.Generator | None = None) -> Tensor:
        """The most likely bins, one after the other: (B, T, A), normalised."""
        state = inputs.state
        with timed_section("head: condition"):
            condition = self.encode(*inputs)
            modulation = self.modulate(condition.summary)
        past: list[list[Tensor]] = [[] for _ in self.blocks]
        bins = [torch.full((len(state),), self.config.bins, device=state.device)]
        for position in self.position:
            with timed_section("head: tokens"):
                x = (self.embed(bins[-1]) + position)[:, None]
                bins.append(self.run(x, modulation, condition, past=past)[:, 0].argmax(-1))
        return self.to_chunk(torch.stack(bins[1:], dim=1))
