"""What an adapter is: method, rank of each part, scale."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vla_agent.files.recipe_file import Strict

METHODS = ("lora", "rslora", "dora", "adalora", "randlora", "vera", "boft", "ia3", "nola", "full", "head")
Rank = int | Literal["full"]
# These keep to at most 5 % of the shipped policy's parameters (docs/finetuning.md says how the ranks were chosen); the
# others' numbers mean other things and train far fewer.
LOW_RANK = ("lora", "rslora", "dora", "adalora")
OTHERS = {"vision": 4, "language": 8, "head": 8}


class Adapter(Strict):
    """What is trained.  A part's number is its rank (for boft the block's size; ia3 has none, any number
    counts); 0 leaves the part as it is, ``full`` trains its own weights."""

    method: Literal["lora", "rslora", "dora", "adalora", "randlora", "vera", "boft", "ia3", "nola", "full", "head"] = (
        "lora"
    )
    vision: Rank = Field(4, description="convolutions and what lies around them")
    language: Rank = Field(6, description="text encoder and the transformer that joins text and pictures")
    head: Rank = Field(6, description="the action head")
    scale: float = Field(2.0, gt=0, description="lora's alpha over its rank; also of dora, adalora, randlora, nola")
    basis: int = Field(64, ge=1, description="nola: random matrices a factor")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """Ranks that were not given are the method's."""
        if not isinstance(given, dict) or given.get("method", "lora") in LOW_RANK:
            return given
        return {**OTHERS, **given}

    def parts(self) -> dict[str, Rank]:
        """Part -> rank or "full", with what ``method`` says about the parts as a whole."""
        if self.method == "full":
            return {"vision": "full", "language": "full", "head": "full"}
        if self.method == "head":
            return {"vision": 0, "language": 0, "head": "full"}
        return {"vision": self.vision, "language": self.language, "head": self.head}
