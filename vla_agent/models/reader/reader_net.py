"""The reader's network: a pretrained text encoder, pointers to the words that fill each slot, and what they mean.

    text -encoder-> tokens (B, L, C) -mean, and one query-> kind (B, K)
                                     -query of each role-> pointer over the tokens (B, R, L) -> value of the slot

Pointers tell the target from the thing beside it by the words around them; one classifier of shapes and one of colours
serve all roles, so that a word that was learned in one place is known in the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.reader.reader_settings import ROLES, ReaderSettings, ReadOutputs

LEAST = -1e4  # score of a token that is padding


class ReaderNet(nn.Module):
    """Encoder of transformers with the reader's heads.

    Args:
        encoder: any text encoder with ``last_hidden_state``.
    """

    def __init__(self, encoder: Any, settings: ReaderSettings) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        self.queries = nn.Parameter(torch.randn(len(ROLES) + 1, width) * width**-0.5)  # the last: of the kind
        self.norm = nn.LayerNorm(width)
        self.kind = nn.Linear(2 * width, len(settings.kinds))
        self.shape = nn.Linear(width, len(settings.values("target.shape")))
        self.colour = nn.Linear(width, len(settings.values("colour")))
        self.direction = nn.Linear(width, len(settings.values("direction")))

    @torch.inference_mode()
    def read(self, ids: np.ndarray) -> ReadOutputs:
        """Ids (L,) of one text's tokens."""
        row = torch.from_numpy(ids)[None]
        return self(row, torch.ones_like(row))

    def forward(self, ids: Tensor, mask: Tensor) -> ReadOutputs:
        """Ids (B, L) and mask (B, L) of tokens."""
        hidden = self.norm(self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state)
        scores = torch.einsum("rc,blc->brl", self.queries, hidden).masked_fill(mask[:, None] == 0, LEAST)
        pointers = F.log_softmax(scores, -1)
        found = torch.einsum("brl,blc->brc", pointers.exp(), hidden)
        weights = mask[:, :, None].to(hidden.dtype)
        mean = (hidden * weights).sum(1) / weights.sum(1)
        heads = {"shape": self.shape, "colour": self.colour, "direction": self.direction}
        values = {role: heads[role.rpartition(".")[2]](found[:, k]) for k, role in enumerate(ROLES)}
        return ReadOutputs(self.kind(torch.cat([mean, found[:, -1]], -1)), values, pointers[:, : len(ROLES)])
