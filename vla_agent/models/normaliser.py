"""Normalisation with its statistics as buffers of the model: saved with the weights, never lost or mixed up."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vla_agent.errors import CheckpointError


class Normaliser(nn.Module):
    """Affine map ``(x - shift) / scale`` a dimension, for a vector of ``size`` numbers.

    Unfitted statistics are NaN, so that a forgotten fit is never the identity.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.full((size,), float("nan")))
        self.register_buffer("scale", torch.full((size,), float("nan")))
        self.shift: Tensor
        self.scale: Tensor

    def fit_range(self, x: np.ndarray, floor: float = 1e-2) -> None:
        """(N, size): the 0.5 % and 99.5 % quantiles go to -1 and 1; half ranges under ``floor`` are set to it."""
        low, high = np.quantile(x, [0.005, 0.995], axis=0)
        self._set((high + low) / 2, np.maximum((high - low) / 2, floor))

    def fit_moments(self, x: np.ndarray, floor: float = 1e-2) -> None:
        """(N, size): mean 0, standard deviation 1; deviations under ``floor`` are set to it."""
        self._set(x.mean(axis=0), np.maximum(x.std(axis=0), floor))

    def _set(self, shift: np.ndarray, scale: np.ndarray) -> None:
        self.shift.copy_(torch.as_tensor(shift, dtype=torch.float32))
        self.scale.copy_(torch.as_tensor(scale, dtype=torch.float32))

    def require_fitted(self, file: str, key: str) -> None:
        """Check that the statistics are fitted and finite.

        Raises:
            CheckpointError: naming the file and the statistics.
        """
        if not (torch.isfinite(self.shift).all() and torch.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise CheckpointError(
                "the normaliser's statistics are missing or unusable",
                file=file,
                key=key,
                expected="finite shift and positive scale for each dimension",
                found=f"shift {self.shift.tolist()}, scale {self.scale.tolist()}",
                remedy="get the checkpoint again or retrain: without them the robot moves wrongly",
            )

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., size)."""
        return (x - self.shift) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """Undo `forward`."""
        return x * self.scale + self.shift
