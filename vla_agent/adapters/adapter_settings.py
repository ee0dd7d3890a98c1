"""An adapter's settings: method, rank of each part, scale."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vla_agent.files.recipe_file import Strict

METHODS = ("lora", "rslora", "dora", "adalora", "randlora", "vera", "boft", "ia3", "nola", "full", "head")
Rank = int | Literal["full"]
# With their default ranks these train at most 5 % of the shipped policy's parameters (docs/finetuning.md says how the
# ranks were chosen).  The numbers of the other methods have other meanings and train far fewer parameters.
LOW_RANK = ("lora", "rslora", "dora", "adalora")
OTHER_DEFAULTS = {"vision": 4, "language": 8, "head": 8}


class AdapterSettings(Strict):
    """What is trained.  A part's number is its rank (for boft the block size; for ia3 any number but 0 means yes); 0
    leaves the part as it is, ``full`` trains its own weights."""

    method: Literal["lora", "rslora", "dora", "adalora", "randlora", "vera", "boft", "ia3", "nola", "full", "head"] = (
        "lora"
    )
    vision: Rank = Field(4, description="convolutions and the layers around them")
    language: Rank = Field(6, description="text encoder and the transformer that joins text and images")
    head: Rank = Field(6, description="the action head")
    scale: float = Field(2.0, gt=0, description="lora's alpha over its rank; also of dora, adalora, randlora, nola")
    basis: int = Field(64, ge=1, description="nola: random matrices per factor")

    @model_validator(mode="before")
    @classmethod
    def _method_defaults(cls, given: Any) -> Any:
        """Ranks that are not given are the method's defaults."""
        if not isinstance(given, dict) or given.get("method", "lora") in LOW_RANK:
            return given
        return {**OTHER_DEFAULTS, **given}

    def parts(self) -> dict[str, Rank]:
        """Part -> rank or "full"; the methods ``full`` and ``head`` set all parts."""
        if self.method == "full":
            return {"vision": "full", "language": "full", "head": "full"}
        if self.method == "head":
            return {"vision": 0, "language": 0, "head": "full"}
        return {"vision": self.vision, "language": self.language, "head": self.head}
