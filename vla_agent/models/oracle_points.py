"""Where target and goal truly are, for a policy that shall act on that in place of what it found in the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SURE = 6.0  # logit of what is certainly in the picture, or certainly not


@dataclass(frozen=True)
class Truth:
    """The simulator's answer to what the backbone is asked.

    Attributes:
        points: (V, R, 3) u, v and 1 where inside the picture, else 0.
        located: (R, 3) metres, base frame.
    """

    points: np.ndarray
    located: np.ndarray

    def perceived(self) -> tuple[Tensor, Tensor, Tensor]:
        """As the backbone says it of one observation: points (1, V, R, 2), seen (1, V, R) logits, located (1, R, 3)."""
        import torch

        points = torch.from_numpy(np.asarray(self.points, np.float32))[None]
        located = torch.from_numpy(np.asarray(self.located, np.float32))[None]
        return points[..., :2].clamp(0, 1), (points[..., 2] * 2 - 1) * SURE, located
