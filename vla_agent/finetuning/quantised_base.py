"""8-bit and 4-bit base weights under full-precision adapters: QLoRA (Dettmers et al. 2023), by torchao.

Only during the training: the result is an adapter, which is merged into the base as it lies on disk.
"""

from __future__ import annotations

from torch import nn

from vla_agent.policy.policy import VLAPolicy
from vla_agent.policy.speed.quantising import is_large_linear, quantise


def quantise_frozen(policy: VLAPolicy, kind: str) -> None:
    """Quantise the frozen weights of the backbone's linear layers in place; what is trained stays as it is.

    Raises:
        OptionError: torchao is missing, or this machine does not support the kind.
    """

    def frozen(module: nn.Module, name: str) -> bool:
        if not (name.startswith("backbone.") and is_large_linear(module, name)):
            return False
        return not any(p.requires_grad for p in module.parameters())

    quantise(policy, kind, frozen, "train.base_weights")
