"""What goes into a language model: text and image tokens in one row, who sees whom, and where each stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Sequence:
    """A run of tokens before the language model; each field is joined along N."""

    embeds: Tensor  # (B, N, C)
    valid: Tensor  # (B, N) False: padding
    kind: Tensor  # (B, N) -1 text, view number for image tokens
    advance: Tensor  # (B, N) by how much the position grows behind the token
    offset: Tensor  # (B, N, 3) what a token's position adds to it: time, row, column

    @staticmethod
    def join(parts: list[Sequence]) -> Sequence:
        keys = ("embeds", "valid", "kind", "advance", "offset")
        return Sequence(*(torch.cat([getattr(p, key) for p in parts], dim=1) for key in keys))


def attention_mask(sequence: Sequence, own: str, mutual: bool) -> Tensor:
    """Which token (second axis) sees which (third axis): (B, N, N) bool.  For ``own`` see `Family.attention`."""
    kind = sequence.kind
    n = kind.shape[1]
    sees = torch.ones(n, n, dtype=torch.bool, device=kind.device)
    sees = (sees if own == "full" else sees.tril()).expand(len(kind), n, n)
    picture = kind[:, :, None] >= 0
    if own == "images":
        sees = sees | (picture & (kind[:, :, None] == kind[:, None]))
    if mutual:
        sees = sees | (picture & (kind[:, None] < 0))
    return sees & sequence.valid[:, None]
