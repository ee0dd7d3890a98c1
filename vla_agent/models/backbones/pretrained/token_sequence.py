"""The input of a language model: text and image tokens in one sequence, their attention mask and positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class TokenSequence:
    """Token embeddings with their attributes; each field is joined along N."""

    embeds: Tensor  # (B, N, C)
    valid: Tensor  # (B, N) False: padding
    kind: Tensor  # (B, N) -1 text, view number for image tokens
    advance: Tensor  # (B, N) increment of the position after the token
    offset: Tensor  # (B, N, 3) of the token's own position: time, row, column

    @staticmethod
    def join(parts: list[TokenSequence]) -> TokenSequence:
        """The parts one after the other."""
        fields = zip(*(vars(part).values() for part in parts), strict=True)
        return TokenSequence(*(torch.cat(tensors, dim=1) for tensors in fields))


def attention_mask(sequence: TokenSequence, own: str, mutual: bool) -> Tensor:
    """Which token (second axis) attends to which (third axis): (B, N, N) bool.

    Args:
        own: see `Family.attention`.  mutual: image tokens also attend to the text after them.
    """
    kind = sequence.kind
    n = kind.shape[1]
    attends = torch.ones(n, n, dtype=torch.bool, device=kind.device)
    attends = (attends if own == "full" else attends.tril()).expand(len(kind), n, n)
    is_image = kind[:, :, None] >= 0
    if own == "images":
        attends = attends | (is_image & (kind[:, :, None] == kind[:, None]))
    if mutual:
        attends = attends | (is_image & (kind[:, None] < 0))
    return attends & sequence.valid[:, None]
