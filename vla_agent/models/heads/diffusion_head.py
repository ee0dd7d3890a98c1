"""The diffusion head: a transformer that turns noise into an action chunk, conditioned on features.

    noisy chunk (B, T, A) --patches of p steps--> tokens (B, T/p, W) --[self-attention, cross-attention to the
    condition tokens (B, N, W), MLP] x depth, each modulated by noise level and state--> prediction (B, T, A)

Two objectives, both served by schedulers of diffusers:

* ``flow``: flow matching (Lipman et al. 2023): x_s = (1 - s) chunk + s noise, the network predicts noise - chunk.
* ``ddpm``: predicts the noise of a 100-step cosine schedule (Ho et al. 2020), served by DDIM (Song et al. 2021) or
  DPM-Solver++ (Lu et al. 2022).

Classifier-free guidance (Ho and Salimans 2022): in a fraction of the samples a learned null condition replaces the
backbone's features; serving extrapolates from the null prediction by ``guidance`` times the distance to the
conditioned one.  All chunks here are normalised; `vla_agent.policy.policy` normalises.
"""

from __future__ import annotations

import math

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from vla_agent.models.heads.chunk_transformer import ChunkTransformer, Condition, mean_over_valid
from vla_agent.models.heads.head_config import HeadConfig, HeadDims, HeadInputs
from vla_agent.models.timing_sections import timed_section


def _sinusoid(x: Tensor, size: int, longest: float = 1000.0) -> Tensor:
    """(...,) -> (..., size) sines and cosines at geometric frequencies."""
    freq = torch.exp(-math.log(longest) * torch.arange(size // 2, device=x.device) / (size // 2))
    angle = x[..., None] * freq * longest
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class DiffusionHead(ChunkTransformer):
    """See the module's head; for the arguments `ChunkTransformer` and `build_head.build_head`."""

    compilable = ("serving_condition", "modulation_at", "serve")  # see `vla_agent.policy.speed.compiling`

    def __init__(self, config: HeadConfig, dims: HeadDims) -> None:
        size = config.patch * dims.action_dim
        super().__init__(config, dims, dims.chunk_length // config.patch, size, size, levels=True)
        if config.condition_dropout:
            self.null_feature = nn.Parameter(torch.randn(dims.feature_dim) * 0.02)
            self.null_geometry = nn.Parameter(torch.zeros(dims.geometry_dim))
        self.ddim = DDIMScheduler(
            config.train_steps, beta_schedule="squaredcos_cap_v2", clip_sample_range=1.5, set_alpha_to_one=True
        )
        self.flow = FlowMatchEulerDiscreteScheduler()
        self.dpm = DPMSolverMultistepScheduler(
            config.train_steps,
            beta_schedule="squaredcos_cap_v2",
            algorithm_type="dpmsolver++",
            prediction_type="sample",  # see `predicted_chunk`
            final_sigmas_type="zero",
            lambda_min_clipped=-5.1,  # without it the first step of a cosine schedule divides by almost zero
        )

    def nullified(self, features: Tensor, geometry: Tensor | None, null: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and geometry with the null condition where ``null`` (B,) is True."""
        features = torch.where(null[:, None, None], self.null_feature, features)
        return features, None if geometry is None else torch.where(null[:, None], self.null_geometry, geometry)

    def modulation_at(self, level: Tensor, condition: Condition) -> Tensor:
        """Noise levels (..., B) in [0, 1], any number of steps at once -> modulation (..., B, depth, 6, W)."""
        return self.modulate(self.level_in(_sinusoid(level, 64)) + condition.summary)

    def predict(self, noisy: Tensor, level: Tensor, condition: Condition, modulation: Tensor | None = None) -> Tensor:
        """Noisy chunk (B, T, A), level (B,) in [0, 1] -> velocity or noise (B, T, A).

        ``modulation``: that of `modulation_at` for this level, where it is already computed.
        """
        b = len(noisy)
        x = self.tokens_in(noisy.reshape(b, -1, self.config.patch * self.action_dim)) + self.position
        modulation = self.modulation_at(level, condition) if modulation is None else modulation
        return self.run(x, modulation, condition).reshape(b, self.chunk_length, self.action_dim)

    def loss(
        self, inputs: HeadInputs, chunk: Tensor, valid: Tensor, draws: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean squared error over valid steps, ``draws`` noise draws per encoded sample (CogACT)."""
        features, state, geometry, mask = inputs
        if self.config.condition_dropout:
            null = torch.rand(len(state), generator=generator) < self.config.condition_dropout
            features, geometry = self.nullified(features, geometry, null.to(features.device))
        condition = self.encode(features, state, geometry, mask).repeat(draws)
        chunk, valid = chunk.repeat(draws, 1, 1), valid.repeat(draws, 1)
        noise = torch.randn(chunk.shape, generator=generator).to(chunk.device)  # the same draws on every device
        if self.config.objective == "flow":
            level = torch.rand(len(chunk), generator=generator).to(chunk.device)
            noisy = (1 - level[:, None, None]) * chunk + level[:, None, None] * noise
            target = noise - chunk
        else:
            step = torch.randint(0, self.config.train_steps, (len(chunk),), generator=generator)
            step = step.to(chunk.device)
            noisy, target, level = self.ddim.add_noise(chunk, noise, step), noise, step / self.config.train_steps
        return mean_over_valid((self.predict(noisy, level, condition) - target).square().mean(-1), valid)

    def serving_condition(
        self, features: Tensor, state: Tensor, geometry: Tensor | None, mask: Tensor | None = None
    ) -> Condition:
        """The condition for `serve`; with guidance, the null condition follows in the same batch (2B)."""
        if self.config.guidance == 1:
            return self.encode(features, state, geometry, mask)
        null = torch.arange(2 * len(state), device=state.device) >= len(state)
        twice = [None if x is None else torch.cat([x, x]) for x in (features, geometry, state, mask)]
        features, geometry = self.nullified(twice[0], twice[1], null)
        return self.encode(features, twice[2], geometry, twice[3])

    def serve(self, noisy: Tensor, level: Tensor, condition: Condition, modulation: Tensor | None = None) -> Tensor:
        """`predict` (B, T, A) with guidance; ``condition`` comes from `serving_condition`."""
        if self.config.guidance == 1:
            return self.predict(noisy, level, condition, modulation)
        conditioned, null = self.predict(noisy.repeat(2, 1, 1), level.repeat(2), condition, modulation).chunk(2)
        return null + self.config.guidance * (conditioned - null)

    @torch.no_grad()
    def sample(self, inputs: HeadInputs, generator: torch.Generator | None = None) -> Tensor:
        """Denoise from noise: (B, T, A), normalised.  The modulation of all steps is computed in one product."""
        state = inputs.state
        with timed_section("head: condition"):
            condition = self.serving_condition(*inputs)
            x = torch.randn(len(state), self.chunk_length, self.action_dim, generator=generator).to(state.device)
            flow = self.config.objective == "flow"
            scheduler = self.flow if flow else self.dpm if self.config.sampler == "dpmsolver++" else self.ddim
            if not flow or getattr(scheduler, "num_inference_steps", None) != self.config.serve_steps:
                scheduler.set_timesteps(self.config.serve_steps)  # the other schedulers are reset by it
            levels = (scheduler.timesteps / (1000 if flow else self.config.train_steps)).to(state.device)
            levels = levels[:, None].expand(-1, len(condition.summary))
            modulations = self.modulation_at(levels, condition).unbind()
        for i, step in enumerate(scheduler.timesteps):
            with timed_section("head: denoising"):
                prediction = self.serve(x, levels[i, : len(x)], condition, modulations[i])
                if flow:  # the Euler step inline: the scheduler's own step costs as much as a layer
                    x = x + (scheduler.sigmas[i + 1] - scheduler.sigmas[i]) * prediction
                    continue
                if scheduler is self.dpm:
                    prediction = self.predicted_chunk(x, prediction, step)
                x = scheduler.step(prediction, step, x).prev_sample
        return x

    def predicted_chunk(self, noisy: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """The clean chunk (B, T, A) that a predicted noise implies, clipped to the range of chunks.

        At the first steps a small error of the noise is a large one of the chunk.  DDIM's scheduler clips by itself.
        """
        kept = self.dpm.alphas_cumprod[step]
        return ((noisy - (1 - kept).sqrt() * noise) / kept.sqrt()).clamp(-1.5, 1.5)
