"""8-bit and 4-bit base weights under full-precision adapters: QLoRA (Dettmers et al. 2023), by torchao.

Only while training: what comes out is an adapter, and is merged into the base as it is on disk.
"""

from __future__ import annotations

from torch import nn

from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.speed.quantising import quantise, worth_it


def quantise_frozen(policy: VLAPolicy, kind: str) -> None:
    """Replace the frozen weights of the backbone's linear layers in place; adapters and what else is trained stay.

    Raises:
        OptionError: torchao is missing, or this machine cannot do it.
    """

    def frozen(module: nn.Module, name: str) -> bool:
        if not (name.startswith("backbone.") and worth_it(module, name)):
            return False
        return not any(p.requires_grad for p in module.parameters())

    quantise(policy, kind, frozen, "train.base_weights")
