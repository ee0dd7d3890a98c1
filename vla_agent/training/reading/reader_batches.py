"""The reader's training: it learns to read from generated text alone; then its confidence is calibrated.

Neither images nor a simulator take part, and nothing else of the policy changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from vla_agent.models.reader.reader import Reader, best_reading
from vla_agent.models.reader.reader_net import ReaderNet
from vla_agent.models.reader.reader_settings import REFUSED, ROLES, ReaderSettings, ReadOutputs
from vla_agent.policy.doubt.logistic_fit import fit_logistic
from vla_agent.training.reading.examples import Example, Examples
from vla_agent.training.reading.reader_recipe import TrainReader

GROUP = 16  # texts of like length that are computed together


class ReaderBatches:
    """Draws examples and computes the stage's losses."""

    def __init__(self, net: ReaderNet, tokenizer: Tokenizer, examples: Examples, settings: TrainReader) -> None:
        self.net, self.tokenizer, self.examples, self.settings = net, tokenizer, examples, settings
        net.encoder.get_input_embeddings().requires_grad_(False)  # words that no text here has keep their neighbours
        _freeze_lowest(net.encoder, settings.frozen_layers)

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's losses: ``kind``, ``slots``, and ``pointers`` to the words that fill them."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        drawn = [self.examples.draw(rng) for _ in range(self.settings.batch)]
        encoded = [self.tokenizer.encode(example.text) for example in drawn]
        order = sorted(range(len(drawn)), key=lambda k: len(encoded[k].ids))
        totals: dict[str, Tensor] = {}
        for start in range(0, len(order), GROUP):
            rows = order[start : start + GROUP]
            ids, mask = padded([encoded[k].ids for k in rows])
            output = self.net(ids, mask)
            found = reading_losses(output, [drawn[k] for k in rows], [encoded[k].offsets for k in rows], self._names)
            totals = {k: totals.get(k, torch.zeros(())) + v * len(rows) / len(drawn) for k, v in found.items()}
        return totals

    @property
    def _names(self) -> ReaderSettings:
        return self.examples.settings

    @torch.inference_mode()
    def calibrate(self, seed: int) -> Reader:
        """The reader whose confidence is right on texts in wordings that were held back."""
        self.net.eval()
        rng, names = np.random.default_rng(seed), self._names
        odds, wrong = [], []
        for _ in range(self.settings.calibrate):
            example = self.examples.draw_held_back(rng)
            ids, mask = padded([self.tokenizer.encode(example.text).ids])
            kind, slots, found = best_reading(self.net(ids, mask), names)
            if kind in REFUSED:  # refused whatever the confidence
                continue
            odds.append(found)
            wrong.append(kind != example.kind or slots != example.slots)
        slope, offset = fit_logistic(np.array(odds), np.array(wrong, bool))
        return Reader(
            self.net, self.tokenizer, replace(names, curve=(-slope, -offset), refuse_below=self.settings.refuse_below)
        )


def _freeze_lowest(encoder: nn.Module, count: int) -> None:
    """Keep the lowest layers of an encoder, and all that lies below them, as they are."""
    if count:
        layers = next(module for module in encoder.modules() if isinstance(module, nn.ModuleList))
        encoder.requires_grad_(False)
        layers[count:].requires_grad_(True)


def padded(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids (B, L) and mask (B, L) of texts of any length."""
    longest = max(map(len, ids))
    rows = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros_like(rows)
    for k, row in enumerate(ids):
        rows[k, : len(row)], mask[k, : len(row)] = torch.tensor(row), 1
    return rows, mask


def reading_losses(
    output: ReadOutputs,
    examples: Sequence[Example],
    offsets: Sequence[Sequence[tuple[int, int]]],
    settings: ReaderSettings,
) -> dict[str, Tensor]:
    """Cross entropy of kinds and of the slots that a kind fills; pointers lose what they leave beside the words."""
    kinds = torch.tensor([settings.kinds.index(example.kind) for example in examples])
    slots, pointers = [], []
    for number, role in enumerate(ROLES):
        rows = [k for k, example in enumerate(examples) if role in example.slots]
        if rows:
            values = settings.values(role)
            wanted = torch.tensor([values.index(examples[k].slots[role]) for k in rows])
            slots.append(F.cross_entropy(output.values[role][rows], wanted, reduction="sum"))
        for k, example in enumerate(examples):
            spans = [(start, end) for name, start, end in example.spans if name == role]
            tokens = [t for t, (a, b) in enumerate(offsets[k]) for start, end in spans if a < end and b > start]
            if tokens:
                pointers.append(-torch.logsumexp(output.pointers[k, number, tokens], 0))
    count, zero = len(examples), output.kinds.sum() * 0
    return {
        "kind": F.cross_entropy(output.kinds, kinds, label_smoothing=0.02),
        "slots": torch.stack(slots).sum() / count if slots else zero,
        "pointers": 0.3 * torch.stack(pointers).sum() / count if pointers else zero,
    }
