"""True positions of target and goal from the simulator, given to a policy in place of those that it estimates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CERTAIN = 6.0  # logit of a point that is inside the image for certain; negative: outside


@dataclass(frozen=True)
class OraclePoints:
    """The simulator's values for what the backbone estimates.

    Attributes:
        points: (V, R, 3) u, v and 1 where inside the image, else 0.
        located: (R, 3) metres, base frame.
    """

    points: np.ndarray
    located: np.ndarray

    def features(self) -> dict[str, Tensor]:
        """Features of one observation: points (1, V, R, 2), seen (1, V, R) logits, located (1, R, 3)."""
        import torch

        points = torch.from_numpy(np.asarray(self.points, np.float32))[None]
        located = torch.from_numpy(np.asarray(self.located, np.float32))[None]
        return {"points": points[..., :2].clamp(0, 1), "seen": (points[..., 2] * 2 - 1) * CERTAIN, "located": located}
