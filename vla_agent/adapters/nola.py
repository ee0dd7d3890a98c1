"""NOLA: low-rank factors that are combinations of fixed random matrices (Koohpayegani et al., ICLR 2024).

    W x  +  scale * B A x,    A = sum_i a_i A_i (r, in),    B = sum_j b_j B_j (out, r)

The A_i and B_j are drawn from a seed and never stored.  Only the coefficients a and b are trained, so that the size of
an adapter does not depend on the size of its layers.  peft has no NOLA.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NolaLinear(nn.Module):
    """A linear layer with a NOLA adapter.  ``merge`` adds the adapter to ``base_layer``'s weight, as in peft.

    Args:
        base_layer: its weights are not trained.
        rank: r.
        basis: number of random matrices per factor.
        seed: of the random matrices.
    """

    def __init__(self, base_layer: nn.Linear, rank: int, basis: int, scale: float, seed: int) -> None:
        super().__init__()
        self.base_layer, self.scale = base_layer.requires_grad_(False), scale
        outputs, inputs = base_layer.weight.shape
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:  # uniform: the same bits on every machine
            return (2 * torch.rand(shape, generator=generator) - 1) * (3 / inputs) ** 0.5

        self.register_buffer("nola_basis_a", draw(basis, rank, inputs), persistent=False)
        self.register_buffer("nola_basis_b", draw(basis, outputs, rank), persistent=False)
        self.nola_a = nn.Parameter(draw(basis) * (inputs / basis) ** 0.5)
        self.nola_b = nn.Parameter(torch.zeros(basis))
        self.nola_basis_a: Tensor
        self.nola_basis_b: Tensor

    def factors(self) -> tuple[Tensor, Tensor]:
        """A (r, in) and B (out, r)."""
        return torch.tensordot(self.nola_a, self.nola_basis_a, 1), torch.tensordot(self.nola_b, self.nola_basis_b, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.factors()
        return self.base_layer(x) + self.scale * F.linear(F.linear(x, a), b)

    @torch.no_grad()
    def merge(self, safe_merge: bool = True) -> None:
        a, b = self.factors()
        self.base_layer.weight.add_(self.scale * (b @ a))


def attach_nola(model: nn.Module, names: list[str], rank: int, basis: int, scale: float) -> None:
    """Put NOLA on the named linear layers; the seed of each layer's matrices follows from its name."""
    for name in names:
        parent, _, child = name.rpartition(".")
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(model.get_submodule(parent), child, NolaLinear(layer, rank, basis, scale, seed))
