"""TRAM: a sharpness-aware step whose size follows how much the outputs change (Sherborne et al., ICLR 2024).

Plain sharpness-aware minimisation takes its gradient at weights displaced by a fixed length along the gradient.  In
TRAM that length is the distance between the model's outputs on an input and on a perturbed input: long where the
outputs change much, short where the function is smooth already.
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
        arguments: makes the arguments of its forward, with the same random draws each time.
        distance: scalar, between the outputs on an input and on a perturbed one.
        strength: factor of the distance.
    """
    losses: dict[str, Tensor] = module(*arguments())
    total = torch.stack(list(losses.values())).sum()
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
    norm = torch.sqrt(sum((g.square().sum() for g in gradients if g is not None), total.new_zeros(())))
    length = strength * distance.detach() / norm.clamp_min(1e-12)
    displaced = {
        name: parameter if gradient is None else parameter + length * gradient
        for (name, parameter), gradient in zip(trained.items(), gradients, strict=True)
    }
    return functional_call(module, displaced, arguments())
