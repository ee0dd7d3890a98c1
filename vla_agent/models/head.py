"""The action head: a diffusion transformer that turns noise into an action chunk, conditioned on features.

    noisy chunk (B, T, A) --patches of p steps--> tokens (B, T/p, W) --[self-attention, cross-attention to the
    condition tokens (B, N, W), MLP] x depth, each modulated by noise level and state--> prediction (B, T, A)

Two objectives, both served by schedulers of diffusers:

* ``flow``: flow matching (Lipman et al. 2023): x_s = (1 - s) chunk + s noise, the network predicts noise - chunk.
* ``ddpm``: predicts the noise of a 100-step cosine schedule (Ho et al. 2020), served by DDIM (Song et al. 2021).

Modulation is adaLN-single (PixArt, Chen et al. 2024): one MLP for all layers and a learned table a layer.
All chunks in here are normalised; `vla_agent.policy` normalises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadConfig:
    """Sizes and objective of the head; CogACT's S/B/L are (depth, width) = (6, 384), (12, 768), (24, 1024)."""

    width: int = 256
    depth: int = 4
    heads: int = 4
    patch: int = 2  # control steps a token
    objective: str = "flow"  # flow or ddpm
    train_steps: int = 100  # of the ddpm schedule
    serve_steps: int = 6  # denoising steps when serving


def _sinusoid(x: Tensor, size: int, longest: float = 1000.0) -> Tensor:
    """(...,) -> (..., size) sines and cosines at geometric frequencies."""
    freq = torch.exp(-math.log(longest) * torch.arange(size // 2, device=x.device) / (size // 2))
    angle = x[..., None] * freq * longest
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


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

    def forward(self, x: Tensor, key_value: tuple[Tensor, Tensor], modulation: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).unbind(dim=1)
        h = self.norm(x) * (1 + scale1[:, None]) + shift1[:, None]
        q, k, v = (self._split(z) for z in self.qkv(h).chunk(3, dim=-1))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate1[:, None] * self.self_out(h)
        h = F.scaled_dot_product_attention(self._split(self.query(self.cross_norm(x))), *key_value)
        x = x + self.cross_out(h.transpose(1, 2).flatten(2))
        h = self.norm(x) * (1 + scale2[:, None]) + shift2[:, None]
        return x + gate2[:, None] * self.mlp(h)


class DiffusionHead(nn.Module):
    """See the module's head.

    Args:
        config: sizes and objective.
        chunk_length, action_dim: T and A.
        state_dim: D of the normalised state.
        feature_dim: C of the backbone's hidden tokens (B, N, C).
        geometry_dim: size of the backbone's explicit geometry (points and located positions) or 0.
    """

    def __init__(
        self,
        config: HeadConfig,
        chunk_length: int,
        action_dim: int,
        state_dim: int,
        feature_dim: int,
        geometry_dim: int = 0,
    ) -> None:
        super().__init__()
        w = config.width
        self.config, self.chunk_length, self.action_dim = config, chunk_length, action_dim
        self.tokens_in = nn.Linear(config.patch * action_dim, w)
        self.tokens_out = nn.Linear(w, config.patch * action_dim)
        self.position = nn.Parameter(torch.randn(chunk_length // config.patch, w) * 0.02)
        self.feature_in = nn.Sequential(nn.LayerNorm(feature_dim), nn.Linear(feature_dim, w))
        self.vector_in = nn.Sequential(nn.Linear(state_dim + geometry_dim, 2 * w), nn.GELU(), nn.Linear(2 * w, 2 * w))
        self.level_in = nn.Sequential(nn.Linear(64, w), nn.SiLU(), nn.Linear(w, w))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(w, 6 * w))
        self.blocks = nn.ModuleList(Block(w, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(w)
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)
        nn.init.zeros_(self.tokens_out.weight)
        nn.init.zeros_(self.tokens_out.bias)
        for block in self.blocks:
            nn.init.zeros_(block.cross_out.weight)
            nn.init.constant_(block.table[2], 1.0)
            nn.init.constant_(block.table[5], 1.0)
        self.ddim = DDIMScheduler(
            config.train_steps, beta_schedule="squaredcos_cap_v2", clip_sample_range=1.5, set_alpha_to_one=True
        )
        self.flow = FlowMatchEulerDiscreteScheduler()

    def encode(
        self, features: Tensor, state: Tensor, geometry: Tensor | None
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Condition of one observation: keys and values a layer, and the vector (B, W) for modulation."""
        vector = state if geometry is None else torch.cat([state, geometry], dim=-1)
        token, summary = self.vector_in(vector).chunk(2, dim=-1)
        cond = torch.cat([self.feature_in(features), token[:, None]], dim=1)
        return [block.condition(cond) for block in self.blocks], summary

    def predict(self, noisy: Tensor, level: Tensor, condition: tuple[list[tuple[Tensor, Tensor]], Tensor]) -> Tensor:
        """Noisy chunk (B, T, A), level (B,) in [0, 1] -> velocity or noise (B, T, A)."""
        key_values, summary = condition
        b = len(noisy)
        x = self.tokens_in(noisy.reshape(b, -1, self.config.patch * self.action_dim)) + self.position
        modulation = self.modulation(self.level_in(_sinusoid(level, 64)) + summary).unflatten(-1, (6, -1))
        for block, key_value in zip(self.blocks, key_values, strict=True):
            x = block(x, key_value, modulation)
        return self.tokens_out(self.norm(x)).reshape(b, self.chunk_length, self.action_dim)

    def loss(
        self,
        features: Tensor,
        state: Tensor,
        geometry: Tensor | None,
        chunk: Tensor,
        valid: Tensor,
        draws: int = 1,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean squared error over valid steps, ``draws`` noise draws per encoded sample (CogACT).

        Args:
            features: (B, N, C).  state: (B, D).  geometry: (B, G) or None.
            chunk: (B, T, A) normalised.  valid: (B, T) 1 where the step has a label.
        """
        key_values, summary = self.encode(features, state, geometry)
        if draws > 1:
            key_values = [(k.repeat(draws, 1, 1, 1), v.repeat(draws, 1, 1, 1)) for k, v in key_values]
            summary, chunk, valid = summary.repeat(draws, 1), chunk.repeat(draws, 1, 1), valid.repeat(draws, 1)
        noise = torch.randn(chunk.shape, generator=generator)
        if self.config.objective == "flow":
            level = torch.rand(len(chunk), generator=generator)
            noisy = (1 - level[:, None, None]) * chunk + level[:, None, None] * noise
            target = noise - chunk
        else:
            step = torch.randint(0, self.config.train_steps, (len(chunk),), generator=generator)
            noisy, target, level = self.ddim.add_noise(chunk, noise, step), noise, step / self.config.train_steps
        error = (self.predict(noisy, level, (key_values, summary)) - target).square().mean(-1)
        return (error * valid).sum() / valid.sum().clamp_min(1)

    @torch.no_grad()
    def sample(
        self, features: Tensor, state: Tensor, geometry: Tensor | None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Denoise from noise: (B, T, A), normalised."""
        condition = self.encode(features, state, geometry)
        x = torch.randn(len(state), self.chunk_length, self.action_dim, generator=generator)
        flow = self.config.objective == "flow"
        scheduler = self.flow if flow else self.ddim
        scheduler.set_timesteps(self.config.serve_steps)
        for step in scheduler.timesteps:
            level = (step / (1000 if flow else self.config.train_steps)).expand(len(x))
            x = scheduler.step(self.predict(x, level, condition), step, x).prev_sample
        return x
