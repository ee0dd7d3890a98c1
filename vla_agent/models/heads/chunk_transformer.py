"""What all heads share: a transformer over the tokens of a chunk that attends to the condition.

    tokens (B, S, W) --[self-attention, cross-attention to the condition tokens (B, N, W), MLP] x depth, each modulated
    by a vector (B, W)--> outputs (B, S, size_out)

Modulation is adaLN-single (PixArt, Chen et al. 2024): one MLP for all layers and a learned table a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.heads.head_config import HeadConfig, HeadDims


@dataclass(frozen=True)
class Condition:
    """What a chunk is conditioned on, projected for every layer: computed once an observation."""

    key_values: list[tuple[Tensor, Tensor]]  # a layer: (B, heads, N + 1, W / heads)
    summary: Tensor  # (B, W)
    mask: Tensor | None  # (B, 1, 1, N + 1) True where a token counts; None where all do

    def repeat(self, times: int) -> Condition:
        """The batch repeated ``times`` times."""
        if times == 1:
            return self
        return Condition(
            [(k.repeat(times, 1, 1, 1), v.repeat(times, 1, 1, 1)) for k, v in self.key_values],
            self.summary.repeat(times, 1),
            None if self.mask is None else self.mask.repeat(times, 1, 1, 1),
        )


class Block(nn.Module):
    """Self-attention over action tokens, cross-attention to the condition, MLP; adaLN-single modulation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Parameter(torch.zeros(6, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.cross_norm = nn.LayerNorm(width)

    def condition(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, W) -> keys and values (B, heads, N, W / heads): computed once for all denoising steps."""
        k, v = self.key_value(cond).chunk(2, dim=-1)
        return self._split(k), self._split(v)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        key_value: tuple[Tensor, Tensor],
        modulation: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
        past: list[Tensor] | None = None,
    ) -> Tensor:
        """x (B, S, W), modulation (B, 6, W) of this layer (see `ChunkTransformer.modulate`) -> (B, S, W).

        Args:
            mask: see `Condition`.
            causal: a token attends only to those before it.
            past: cached keys and values of the tokens before x; those of x are appended in place.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation[:, :, None].unbind(dim=1)
        h = torch.addcmul(shift1, self.norm(x), scale1)
        q, k, v = (self._split(z) for z in self.qkv(h).chunk(3, dim=-1))
        if past is not None:
            if past:
                k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            past[:] = k, v
        h = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
        x = torch.addcmul(x, gate1, self.self_out(h))
        h = F.scaled_dot_product_attention(self._split(self.query(self.cross_norm(x))), *key_value, attn_mask=mask)
        x = x + self.cross_out(h.transpose(1, 2).flatten(2))
        h = torch.addcmul(shift2, self.norm(x), scale2)
        return torch.addcmul(x, gate2, self.mlp(h))


class ChunkTransformer(nn.Module):
    """See the module's head.

    Args:
        config: sizes.
        dims: of chunk, state, features and geometry.
        tokens: S, learned positions.
        size_in, size_out: numbers a token; ``size_in`` 0 where the head makes its tokens itself.
        levels: whether the modulation depends on a noise level.
    """

    def __init__(
        self, config: HeadConfig, dims: HeadDims, tokens: int, size_in: int, size_out: int, levels: bool
    ) -> None:
        super().__init__()
        w = config.width
        self.config, self.chunk_length, self.action_dim = config, dims.chunk_length, dims.action_dim
        if size_in:
            self.tokens_in = nn.Linear(size_in, w)
        self.tokens_out = nn.Linear(w, size_out)
        self.position = nn.Parameter(torch.randn(tokens, w) * 0.02)
        self.feature_in = nn.Sequential(nn.LayerNorm(dims.feature_dim), nn.Linear(dims.feature_dim, w))
        vector_dim = dims.state_dim + dims.geometry_dim
        self.vector_in = nn.Sequential(nn.Linear(vector_dim, 2 * w), nn.GELU(), nn.Linear(2 * w, 2 * w))
        if levels:
            self.level_in = nn.Sequential(nn.Linear(64, w), nn.SiLU(), nn.Linear(w, w))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(w, 6 * w))
        scales = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])[:, None]
        self.register_buffer("around_one", scales, persistent=False)  # the two scales are learned as what exceeds 1
        self.around_one: Tensor
        self.blocks = nn.ModuleList(Block(w, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(w)
        for layer in (self.modulation[1], self.tokens_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for block in self.blocks:
            nn.init.zeros_(block.cross_out.weight)
            nn.init.constant_(block.table[2], 1.0)
            nn.init.constant_(block.table[5], 1.0)

    def encode(self, features: Tensor, state: Tensor, geometry: Tensor | None, mask: Tensor | None = None) -> Condition:
        """Condition of one observation from its `HeadInputs`: keys and values a layer, and the modulation vector."""
        vector = state if geometry is None else torch.cat([state, geometry], dim=-1)
        token, summary = self.vector_in(vector).chunk(2, dim=-1)
        cond = torch.cat([self.feature_in(features), token[:, None]], dim=1)
        if mask is not None:
            mask = F.pad(mask.bool(), (0, 1), value=True)[:, None, None]
        return Condition([block.condition(cond) for block in self.blocks], summary, mask)

    def modulate(self, vector: Tensor) -> Tensor:
        """Vectors (..., W) -> shift, scale, gate of attention and of MLP for every layer (..., depth, 6, W)."""
        shared = self.modulation(vector).unflatten(-1, (1, 6, -1))
        return shared + torch.stack([block.table for block in self.blocks]) + self.around_one

    def run(
        self,
        x: Tensor,
        modulation: Tensor,
        condition: Condition,
        causal: bool = False,
        past: list[list[Tensor]] | None = None,
    ) -> Tensor:
        """Tokens (B, S, W) and their modulation (B, depth, 6, W) -> outputs (B, S, size_out)."""
        layers = zip(self.blocks, condition.key_values, modulation.unbind(1), strict=True)
        for i, (block, key_value, own_modulation) in enumerate(layers):
            x = block(x, key_value, own_modulation, condition.mask, causal, None if past is None else past[i])
        return self.tokens_out(self.norm(x))


def mean_over_valid(error: Tensor, valid: Tensor) -> Tensor:
    """Mean of the error (B, T) of each step over the steps that have a label (``valid`` (B, T) is 1)."""
    return (error * valid).sum() / valid.sum().clamp_min(1)
