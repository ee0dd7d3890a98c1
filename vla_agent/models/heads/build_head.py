"""The kinds of heads, and the interface that each offers: `HeadInputs` for all, `loss` to train, `sample` to serve.

    loss(inputs, chunk, valid, draws, generator)   the mean over the valid steps
    sample(inputs, generator)                      a chunk (B, T, A)

chunk (B, T, A), valid (B, T) 1 where a step has a label.  Inputs and chunks are normalised; all randomness comes from
the generator.
"""

from __future__ import annotations

from vla_agent.errors import OptionError
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.heads.head_config import HeadConfig, HeadDims
from vla_agent.models.heads.regression_head import RegressionHead
from vla_agent.models.heads.token_head import TokenHead

__all__ = ["KINDS", "Head", "HeadConfig", "HeadDims", "build_head"]

Head = DiffusionHead | TokenHead | RegressionHead
KINDS: dict[str, type[Head]] = {"diffusion": DiffusionHead, "tokens": TokenHead, "regression": RegressionHead}


def build_head(config: HeadConfig, dims: HeadDims) -> Head:
    """The untrained head that ``config`` describes.

    Raises:
        OptionError: its settings contradict each other.
    """
    config = config.resolved()
    if config.kind != "tokens" and dims.chunk_length % config.patch:
        divisor = f"a divisor of the chunk's {dims.chunk_length} steps"
        raise _refused("patch", divisor, config.patch, "change head.patch or chunk_length")
    if config.width % config.heads:
        raise _refused("heads", f"a divisor of the width {config.width}", config.heads, "change head.heads or width")
    if config.guidance != 1 and not config.condition_dropout:
        remedy = "train with head.condition_dropout=0.1"
        raise _refused("guidance", "1, or condition_dropout over 0", config.guidance, remedy)
    return KINDS[config.kind](config, dims)


def _refused(key: str, expected: str, found: object, remedy: str) -> OptionError:
    what = "the settings of the head contradict each other"
    return OptionError(what, key=f"head.{key}", expected=expected, found=str(found), remedy=remedy)
