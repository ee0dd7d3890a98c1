"""TRAM: a sharpness-aware step whose size follows how far the function moves (Sherborne et al., ICLR 2024).

Plain sharpness-aware minimisation takes its gradient at weights displaced by a fixed length up the slope.  TRAM takes
for that length a distance between the model's outputs on an input and on a perturbed one: far, where the function is
unsteady; short, where it is smooth already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call


def sharpness_aware(
    module: nn.Module,
    trained: Mapping[str, nn.Parameter],
    arguments: Callable[[], tuple],
    distance: Tensor,
    strength: float,
) -> dict[str, Tensor]:
    """The module's losses at displaced weights; their gradients reach the weights themselves.

    Args:
        trained: the module's trained parameters under its own names.
        arguments: makes the arguments of its forward anew, with the same draws each time.
        distance: how far the outputs are apart on an input and on a perturbed one, a number.
        strength: what it is multiplied by.
    """
    losses: dict[str, Tensor] = module(*arguments())
    total = torch.stack(list(losses.values())).sum()
    slopes = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    norm = torch.sqrt(sum((s.square().sum() for s in slopes if s is not None), total.new_zeros(())))
    length = strength * distance.detach() / norm.clamp_min(1e-12)
    displaced = {n: p if s is None else p + length * s for (n, p), s in zip(trained.items(), slopes, strict=True)}
    return functional_call(module, displaced, arguments())
