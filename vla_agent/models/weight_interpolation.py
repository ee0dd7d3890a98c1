"""WiSE-FT: the straight line between base and tuned weights (Wortsman et al., CVPR 2022).

A share of the tuned weights below 1 keeps more of what the base could do; often both old and new tasks gain.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def interpolate(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) base + share tuned; at 0 and 1 the very bits of one of them.  What is no float is the tuned one's."""
    if share == 1:
        return dict(tuned)
    return {
        k: torch.lerp(base[k], v, share) if share and v.is_floating_point() else base[k] if share == 0 else v
        for k, v in tuned.items()
    }
