"""From adapters to plain weights and back, bit for bit: the base's weights are kept."""

from __future__ import annotations

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from vla_agent.adapters.attach import AdaptedPolicy, is_adapter
from vla_agent.adapters.attention_projections import closed_state
from vla_agent.adapters.nola import NolaLinear
from vla_agent.policy.policy import VLAPolicy


@torch.no_grad()
def merged_state(attached: AdaptedPolicy) -> dict[str, Tensor]:
    """The policy's state with the adapters merged into the weights, under the names of a plain policy.

    The adapted policy itself is not changed, bit for bit.
    """
    layers = [m for m in attached.policy.modules() if isinstance(m, BaseTunerLayer | NolaLinear)]
    kept = [[p.detach().clone() for p in _base(layer).parameters()] for layer in layers]
    try:
        for layer in layers:
            layer.merge(safe_merge=True)
        state = {k: v.detach().clone() for k, v in attached.policy.state_dict().items() if not is_adapter(k)}
    finally:
        for layer, weights in zip(layers, kept, strict=True):
            for parameter, weight in zip(_base(layer).parameters(), weights, strict=True):
                parameter.data = weight
            if isinstance(layer, BaseTunerLayer):
                layer.merged_adapters.clear()
    return closed_state({k.replace(".base_layer.", "."): v for k, v in state.items()}, attached.opened)


def _base(layer: nn.Module) -> nn.Module:
    return layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer.base_layer


class Merge:
    """Puts merged weights into a plain policy and restores the base's, any number of times, bit for bit.

    Args:
        policy: the plain base policy.
        weights: from `merged_state`; only those that differ from the base are kept.
    """

    def __init__(self, policy: VLAPolicy, weights: dict[str, Tensor]) -> None:
        self.policy, own = policy, policy.state_dict()
        changed = [k for k, v in weights.items() if not torch.equal(own[k], v)]
        self._base = {k: own[k].detach().clone() for k in changed}
        self._tuned = {k: weights[k].detach().clone() for k in changed}

    @property
    def names(self) -> list[str]:
        """The weights that change."""
        return list(self._tuned)

    def apply(self) -> None:
        """Make the policy the tuned one."""
        self._put(self._tuned)

    def undo(self) -> None:
        """Make the policy the base again."""
        self._put(self._base)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        own = self.policy.state_dict()
        for key, value in weights.items():
            own[key].copy_(value)
