"""The heads, and what each must offer: the same condition for all, `loss` for training, `sample` for serving.

    loss(features, state, geometry, chunk, valid, draws, generator, mask)   a mean over the valid steps
    sample(features, state, geometry, generator, mask)                      a chunk (B, T, A)

features (B, N, C) and mask (B, N) or None, state (B, D), geometry (B, G) or None, chunk (B, T, A), valid (B, T).
State and chunk are normalised; all randomness comes from the generator.
"""

from __future__ import annotations

from vla_agent.errors import OptionError
from vla_agent.models.heads.chunk_transformer import HeadConfig
from vla_agent.models.heads.diffusion_head import DiffusionHead
from vla_agent.models.heads.regression_head import RegressionHead
from vla_agent.models.heads.token_head import TokenHead

Head = DiffusionHead | TokenHead | RegressionHead
KINDS: dict[str, type[Head]] = {"diffusion": DiffusionHead, "tokens": TokenHead, "regression": RegressionHead}


def build_head(
    config: HeadConfig, chunk_length: int, action_dim: int, state_dim: int, feature_dim: int, geometry_dim: int = 0
) -> Head:
    """The untrained head that ``config`` describes.

    Raises:
        OptionError: there is no such kind, or its settings contradict each other.
    """

    def refuse(key: str, expected: str, remedy: str) -> OptionError:
        return OptionError(
            "the head cannot be built",
            key=f"head.{key}",
            expected=expected,
            found=str(getattr(config, key)),
            remedy=remedy,
        )

    if config.kind not in KINDS:
        raise refuse("kind", ", ".join(KINDS), "choose one of these")
    if config.kind != "tokens" and chunk_length % config.patch:
        raise refuse("patch", f"a divisor of the chunk's {chunk_length} steps", "change head.patch or chunk_length")
    if config.width % config.heads:
        raise refuse("heads", f"a divisor of the width {config.width}", "change head.heads or head.width")
    if config.guidance != 1 and not config.condition_dropout:
        raise refuse("guidance", "1, or condition_dropout over 0", "train with head.condition_dropout=0.1")
    return KINDS[config.kind](config, chunk_length, action_dim, state_dim, feature_dim, geometry_dim)
