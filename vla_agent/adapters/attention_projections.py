"""Attention whose projections can have adapters.

`torch.nn.MultiheadAttention` reads its projections as plain tensors, and in evaluation a transformer layer passes all
of its weights to one fused kernel: an adapter in the place of a module would be skipped silently.  So attention is
opened into four linear layers before adapters are attached, and closed again, with the same numbers, when they are
merged.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PROJECTIONS = ("q", "k", "v")


class OpenAttention(nn.Module):
    """The same attention as ``source`` with linear layers q, k, v, out; batch first.

    Raises:
        ValueError: the attention has features that are not supported (own sizes of keys, dropout, added biases).
    """

    batch_first = False  # keeps transformer layers off their fused kernel; tensors are batch first all the same

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        plain = source.batch_first and source._qkv_same_embed_dim and source.bias_k is None and not source.add_zero_attn
        if not plain or source.dropout or source.in_proj_bias is None:
            raise ValueError("only plain, batch-first attention with biases and without dropout can be opened")
        self.num_heads, size = source.num_heads, source.embed_dim
        for name, weight, bias in zip(
            PROJECTIONS, source.in_proj_weight.chunk(3), source.in_proj_bias.chunk(3), strict=True
        ):
            layer = nn.Linear(size, size)
            layer.weight, layer.bias = (nn.Parameter(x.detach().clone()) for x in (weight, bias))
            setattr(self, name, layer)
        self.out = nn.Linear(size, size)
        self.out.weight, self.out.bias = source.out_proj.weight, source.out_proj.bias

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """(B, L, C), (B, S, C), (B, S, C) -> (B, L, C); masks (B, S) and (L, S), 0 or -inf, are added to the scores."""
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        padding = None if key_padding_mask is None else key_padding_mask[:, None, None]
        added = [_additive_mask(m, q.dtype) for m in (attn_mask, padding) if m is not None]
        mask = torch.stack(torch.broadcast_tensors(*added)).sum(0) if added else None
        return self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)), None


def _additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(mask.shape, dtype=dtype).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask


def open_attention(model: nn.Module, names: list[str] | None = None) -> list[str]:
    """Open the attentions of ``model`` in place, all or those in ``names``; the names of the opened ones."""
    found = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    chosen = found if names is None else [n for n in found if n in names]
    for name in chosen:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, OpenAttention(model.get_submodule(name)))
    return chosen


def closed_state(state: dict[str, Tensor], opened: list[str]) -> dict[str, Tensor]:
    """The state of an opened model under the names of the closed model."""
    closed = dict(state)
    for name in opened:
        for kind in ("weight", "bias"):
            closed[f"{name}.in_proj_{kind}"] = torch.cat([closed.pop(f"{name}.{p}.{kind}") for p in PROJECTIONS])
            closed[f"{name}.out_proj.{kind}"] = closed.pop(f"{name}.out.{kind}")
    return closed
