"""WiSE-FT: linear interpolation between base and tuned weights (Wortsman et al., CVPR 2022).

A weight of the tuned model below 1 keeps more of the base's abilities; often both old and new tasks gain.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def interpolate(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """(1 - share) base + share tuned; at 0 and 1 bit-identical to one of them.  Integer tensors are the tuned ones."""
    if share == 1:
        return dict(tuned)
    return {
        k: torch.lerp(base[k], v, share) if share and v.is_floating_point() else base[k] if share == 0 else v
        for k, v in tuned.items()
    }
