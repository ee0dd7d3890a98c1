"""Guided sampling: the chunk of a flow head that continues a given beginning, without training for it.

Black, Galliker and Levine 2025, "Real-Time Execution of Action Chunking Flow Policies", after the pseudo-inverse
guidance of Song et al. 2023.  At noise level s (1 noise, 0 chunk) the network predicts the velocity v = noise - chunk,
so that the chunk it heads for is ``estimate = x - s v``.  The step goes along ``v - strength * g`` in place of v::

    g        = (d estimate / d x)^T [weights * (target - estimate)]
    strength = min(BETA, ((1 - s)^2 + s^2) / (s (1 - s)))

One backward pass through the head a denoising step; the backbone and the condition stay outside the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vla_agent.errors import OptionError
from vla_agent.models.head import DiffusionHead
from vla_agent.models.trunk import ChunkTransformer

BETA = 5.0  # the paper's limit of the guidance: more is unstable with few denoising steps


def sample_guided(
    head: ChunkTransformer,
    features: Tensor,
    state: Tensor,
    geometry: Tensor | None,
    target: Tensor,
    weights: Tensor,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Denoise from noise as `DiffusionHead.sample` does, guided towards ``target``: (B, T, A), normalised.

    Works inside ``torch.inference_mode`` and on a head whose parameters need no gradient.

    Args:
        features: (B, N, C).  state: (B, D).  geometry: (B, G) or None.
        target: (B, T, A) normalised.
        weights: (T,) in [0, 1]: how much each row is bound to the target.
        mask: (B, N) 1 where a feature counts, or None.

    Raises:
        OptionError: the head is not a flow head.
    """
    if not isinstance(head, DiffusionHead) or head.config.objective != "flow":
        raise OptionError(
            "this policy's head cannot be guided",
            key="realtime",
            expected="a diffusion head trained with the objective 'flow'",
            found=f"{head.config.kind}, {head.config.objective}",
            remedy="use --execution open_loop, ensemble or adaptive",
        )
    with torch.inference_mode(False), torch.no_grad():
        features, state, target, weights = (x.clone() for x in (features, state, target, weights))
        mask = None if mask is None else mask.clone()
        geometry = None if geometry is None else geometry.clone()
        # the class's own methods: those of a compiled head (vla_agent.speed.compiling) have no gradient
        condition = DiffusionHead.serving_condition(head, features, state, geometry, mask)
        x = torch.randn(len(state), head.chunk_length, head.action_dim, generator=generator).to(state.device)
        scheduler = head.flow
        scheduler.set_timesteps(head.config.serve_steps)
        for step in scheduler.timesteps:
            level = step / 1000
            with torch.enable_grad():
                noisy = x.detach().requires_grad_(True)
                velocity = DiffusionHead.serve(head, noisy, level.to(x).expand(len(x)), condition)
                estimate = noisy - level * velocity
                error = weights[:, None] * (target - estimate.detach())
                (pull,) = torch.autograd.grad(estimate, noisy, error)
            strength = min(BETA, float(((1 - level) ** 2 + level**2) / (level * (1 - level)).clamp_min(1e-6)))
            x = scheduler.step(velocity.detach() - strength * pull, step, x).prev_sample
    return x
