"""What a head is built from: its settings, which a recipe and ``policy.json`` hold, and the dimensions around it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field, PositiveInt
from torch import Tensor

from vla_agent.files.recipe_file import Strict

SIZES = {  # the action models of CogACT (Li et al. 2024): width, depth, heads
    "S": {"width": 384, "depth": 6, "heads": 4},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
}


class HeadConfig(Strict):
    """Kind, sizes and objective of a head; ``size`` S, B or L stands for width, depth and heads of CogACT's."""

    width: PositiveInt = 256
    depth: PositiveInt = 4
    heads: PositiveInt = 4
    patch: PositiveInt = Field(default=2, description="control steps a token")
    objective: Literal["flow", "ddpm"] = "flow"
    train_steps: PositiveInt = Field(default=100, description="of the ddpm schedule")
    serve_steps: PositiveInt = Field(default=6, description="denoising steps when serving")
    kind: Literal["diffusion", "tokens", "regression"] = "diffusion"
    size: Literal["", "S", "B", "L"] = ""
    sampler: Literal["ddim", "dpmsolver++"] = Field(default="ddim", description="of a ddpm head")
    condition_dropout: float = Field(default=0.0, ge=0, lt=1, description="fraction of samples without the condition")
    guidance: float = Field(default=1.0, ge=0, description="classifier-free guidance when serving; 1: none")
    bins: int = Field(default=256, ge=2, description="of an action dimension, for kind tokens")

    def resolved(self) -> HeadConfig:
        """The same head with a named size written out."""
        return self.model_copy(update={**SIZES[self.size], "size": ""}) if self.size else self

    def to_dict(self) -> dict[str, Any]:
        """For ``policy.json``: all settings of the resolved head but ``size``."""
        return self.resolved().model_dump(exclude={"size"})


class HeadDims(NamedTuple):
    """Dimensions that contract and backbone give a head."""

    chunk_length: int  # T
    action_dim: int  # A
    state_dim: int  # D of the normalised state
    feature_dim: int  # C of the backbone's hidden tokens
    geometry_dim: int = 0  # G of the backbone's explicit geometry (points and located positions), or 0


class HeadInputs(NamedTuple):
    """What a chunk is conditioned on; the state is normalised."""

    features: Tensor  # (B, N, C)
    state: Tensor  # (B, D)
    geometry: Tensor | None = None  # (B, G)
    mask: Tensor | None = None  # (B, N) 1 where a feature counts, 0 where it is padding; None: all count
