"""Which part of a policy a weight belongs to, and which modules can have an adapter."""

from __future__ import annotations

import math
import re

from torch import nn

from vla_agent.adapters.adapter_settings import LOW_RANK, Rank

PARTS = ("vision", "language", "head")
# First the names of `PointingVLM`, then those of the vision-language models in transformers.
_LANGUAGE = re.compile(
    r"^backbone\.(model\.(text|query_pool|query|fusion|fusion_norm|chooser|move|height)\b"
    r"|.*\b(language_model|text_model|lm_head)\b)"
)
# Used for answers only, which no action depends on.
_UNUSED = re.compile(r"^backbone\.model\.(decoder|decoder_norm)\b|\blm_head\b")
# Its weight is read as a tensor, so that an adapter in its place would have no effect.
_READ_AS_TENSOR = re.compile(r"^backbone\.model\.name$")
LINEAR_ONLY = ("adalora", "randlora", "vera", "nola")


def part_of(name: str) -> str:
    """The part of a parameter or module of `vla_agent.policy.policy.VLAPolicy` by its name."""
    if name.startswith("head."):
        return "head"
    return "language" if _LANGUAGE.match(name) else "vision"


def affects_actions(name: str) -> bool:
    """Whether actions depend on this weight."""
    return not _UNUSED.search(name)


def targets(model: nn.Module, part: str, method: str, rank: Rank) -> list[str]:
    """Names of the modules of ``part`` that get an adapter of ``method``, in the model's order.

    Layers that have no more weights than their low-rank factors would have (projections to a few numbers) get none:
    the factors would train more parameters than the layer has.
    """
    kinds: tuple[type[nn.Module], ...] = (nn.Linear,) if method in LINEAR_ONLY else (nn.Linear, nn.Conv2d)
    found = []
    for name, module in model.named_modules():
        fits = isinstance(module, kinds) and part_of(name) == part
        fits = fits and affects_actions(name) and not _READ_AS_TENSOR.match(name)
        fits = fits and (method != "boft" or _inputs(module) % int(rank) == 0)
        if fits and (method not in LOW_RANK or int(rank) * sum(_sides(module)) < math.prod(_sides(module))):
            found.append(name)
    return found


def _sides(module: nn.Module) -> tuple[int, int]:
    """Number of outputs, and of inputs that each of them depends on."""
    return len(module.weight), _inputs(module)


def _inputs(module: nn.Module) -> int:
    """Number of inputs of one output; boft's block size must divide it."""
    weight = module.weight
    return int(weight[0].numel())
