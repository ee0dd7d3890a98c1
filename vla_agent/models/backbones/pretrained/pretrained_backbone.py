"""Any pretrained vision-language model of transformers as a backbone: images and an instruction in, hidden tokens out.

    images --resize, normalise--> vision tower, projector --------> image tokens (B, V * n, C)
                     (+ self-supervised features of the same picture, fused)
    instruction ----------------> tokenizer, embedding -----------> text tokens (B, L, C)
    [before | image tokens of each view | instruction | after] --first ``layer`` decoder layers--> hidden (B, N, C)

The sequence is built here and goes through the language model alone, so that positions, attention and padding are the
same few lines for every family; `pretrained.model_families` holds what differs.  B prompts, V views, n tokens a view.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedTokenizerBase

from vla_agent.contract import Contract
from vla_agent.models.backbones.pretrained.fused_vision import FusedVision
from vla_agent.models.backbones.pretrained.model_families import FAMILIES, GENERIC, Vision
from vla_agent.models.backbones.pretrained.token_sequence import Sequence, attention_mask
from vla_agent.models.timing_sections import part

PARTS = ("vision", "projector", "language")


@dataclass(frozen=True)
class VLMOptions:
    """How a pretrained model is used.

    Args:
        layer: decoder layers to keep, the last of which feeds the head; those above are dropped.  0 keeps all.
        image_size: (height, width) that the vision tower sees; empty for what it was trained with.
        instruction: ``last``, behind the pictures, as most models were trained; ``first``, before them: the pictures'
            tokens then see it, and with causal attention it is encoded once an instruction, not once a step.
        attention: ``own``, the family's; ``mutual``: image tokens see the instruction behind them as well (AKI).
        freeze: parts that are not trained: vision, projector, language.
        fused: hub id or folder of a self-supervised vision encoder (DINOv2) whose features are fused in; empty: none.
        dtype: of the weights; train in float32.
    """

    layer: int = 0
    image_size: tuple[int, ...] = ()
    instruction: str = "last"
    attention: str = "own"
    freeze: tuple[str, ...] = ()
    fused: str = ""
    dtype: str = "float32"


@dataclass
class Prompt:
    """Tokenised instructions, right-padded, and, where they come first, what the language model made of them."""

    ids: Tensor  # (B, L)
    mask: Tensor  # (B, L)
    hidden: Tensor | None = None  # (B, L, C)
    cache: DynamicCache | None = None

    def pick(self, index: Tensor) -> Prompt:
        """The prompts of these rows."""
        return Prompt(self.ids[index], self.mask[index])


class VLMBackbone(nn.Module):
    """See the module's head.  ``tokenizer`` and ``image_processor`` are saved beside the weights."""

    geometry_dim = 0
    compilable = ("see", "_run")  # see `vla_agent.policy.speed.compiling`

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: Any,
        options: VLMOptions,
        fused: FusedVision | None = None,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.image_processor, self.options = model, tokenizer, image_processor, options
        self.family = FAMILIES.get(model.config.model_type, GENERIC)
        text, vision = model.config.get_text_config(), model.config.vision_config
        own = getattr(vision, "image_size", None) or 224
        self.size = tuple(options.image_size) or ((own, own) if isinstance(own, int) else tuple(own))
        self.feature_dim: int = text.hidden_size
        self.fused = fused
        self._known_ids: dict[str, list[int]] = {}
        mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (image_processor.image_mean, image_processor.image_std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.freeze()

    @property
    def language(self) -> nn.Module:
        return self.model.get_submodule(self.family.language[0])

    @property
    def learns(self) -> bool:
        """Whether a part is left to train."""
        return any(p.requires_grad for p in self.parameters())

    def freeze(self) -> None:
        """Take the parts that ``options.freeze`` names, and a second encoder, out of training."""
        present = dict(self.model.named_modules())
        if set(self.options.freeze) >= set(PARTS):
            self.model.requires_grad_(False)
        for frozen in self.options.freeze:
            for name in getattr(self.family, frozen):
                if name in present:  # the projector of some lies in the vision tower, in parts that not all have
                    present[name].requires_grad_(False)
        if self.fused is not None:
            self.fused.encoder.requires_grad_(False)

    # ---- the instruction

    def encode_text(self, texts: list[str]) -> Prompt:
        """Tokenise; where nothing that the instruction's tokens see comes behind them, run the language model too."""
        f, first = self.family, self.options.instruction == "first"
        around = (f.before + f.lead, "") if first else (f.lead, f.after)
        rows = [self._ids(around[0] + text + around[1]) for text in texts]
        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), True
        prompt = Prompt(ids, mask)
        if first and f.attention != "full" and not torch.is_grad_enabled():
            with part("instruction"):
                told = self._text(prompt.ids, prompt.mask)
                prompt.cache = DynamicCache()
                prompt.hidden = self._run(told, told, cache=prompt.cache)
        return prompt

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _fixed_ids(self, text: str) -> list[int]:
        """`_ids` of the family's own texts, which come with every picture: tokenised once."""
        if text not in self._known_ids:
            self._known_ids[text] = self._ids(text)
        return self._known_ids[text]

    def _text(self, ids: Tensor, mask: Tensor) -> Sequence:
        ids, mask = ids.to(self.mean.device), mask.to(self.mean.device)
        zero = torch.zeros_like(ids)
        offset = zero[..., None].expand(-1, -1, 3)
        return Sequence(self.language.get_input_embeddings()(ids), mask, zero - 1, mask.long(), offset)

    def _fixed(self, text: str, batch: int) -> Sequence:
        ids = torch.tensor(self._fixed_ids(text), dtype=torch.long).expand(batch, -1)
        return self._text(ids, torch.ones_like(ids, dtype=torch.bool))

    # ---- the pictures

    def pixels(self, images: Tensor) -> Tensor:
        """(P, H, W, 3) uint8 -> (P, 3, h, w) in [0, 1]: resized with its proportions kept, black bars around it."""
        x = images.to(self.mean.device).movedim(-1, 1).float() / 255
        (h, w), (height, width) = self.size, x.shape[2:]
        scale = min(h / height, w / width)
        inner = round(height * scale), round(width * scale)
        if inner != (height, width):
            x = F.interpolate(x, inner, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        top, left = (h - inner[0]) // 2, (w - inner[1]) // 2
        return F.pad(x, (left, w - inner[1] - left, top, h - inner[0] - top))

    def see(self, pixels: Tensor) -> Vision:
        """(P, 3, h, w) in [0, 1] -> image tokens (P, n, C)."""
        seen = self.family.encode(self.model, ((pixels - self.mean) / self.std).to(self.model.dtype))
        if self.fused is not None:
            seen.tokens = self.fused(seen.tokens, pixels)
        return seen

    def _view(self, tokens: Tensor, number: int) -> Sequence:
        b, n, _ = tokens.shape
        kind = torch.full((b, n), number, device=tokens.device)
        advance, offset = torch.ones_like(kind), torch.zeros(b, n, 3, dtype=torch.long, device=tokens.device)
        if self.family.m_rope:  # all tokens of a picture begin at one place, and go along rows and columns from there
            cell = self.model.config.vision_config.patch_size * self.model.config.vision_config.spatial_merge_size
            rows, columns = self.size[0] // cell, self.size[1] // cell
            index = torch.arange(n, device=tokens.device)
            offset[..., 1], offset[..., 2] = index // columns, index % columns
            advance = torch.zeros_like(kind)
            advance[:, -1] = max(rows, columns)
        return Sequence(tokens, torch.ones_like(kind, dtype=torch.bool), kind, advance, offset)

    # ---- both

    def features(self, images: Tensor | list[Tensor], text: Prompt) -> dict[str, Tensor]:
        """Pictures of V views and B prompts -> ``hidden`` (B, N, C) fp32 and ``mask`` (B, N).

        Args:
            images: (B, V, H, W, 3) uint8, or a list of V tensors (B, H, W, 3) where cameras differ in size.
        """
        views = list(images.unbind(1)) if isinstance(images, Tensor) else images
        with part("copy"):
            pixels = torch.cat([self.pixels(v) for v in views])  # all views in one batch
        with part("vision"):
            seen = self.see(pixels)
        with part("language"):
            hidden, valid = self._read(seen, len(views), text)
        return {"hidden": hidden.float(), "mask": valid}

    def _read(self, seen: Vision, views: int, text: Prompt) -> tuple[Tensor, Tensor]:
        """Image tokens and instruction through the language model: hidden (B, N, C) and valid (B, N)."""
        b, f = len(text.ids), self.family
        tokens = seen.tokens.unflatten(0, (views, b))
        parts = []
        for number in range(views):
            parts += [self._fixed(f.start, b), self._view(tokens[number], number), self._fixed(f.end, b)]
        prompt = self._text(text.ids, text.mask)
        if self.options.instruction == "first":
            parts = [prompt, *parts, self._fixed(f.after, b)]
        else:
            parts = [self._fixed(f.before, b), *parts, prompt]
        whole = Sequence.join(parts)
        deep = [d.unflatten(0, (views, b)).transpose(0, 1).flatten(0, 2) for d in seen.deep]
        if text.cache is None or text.hidden is None:
            hidden = self._run(whole, whole, deep)
        else:
            hidden = self._run(whole, Sequence.join(parts[1:]), deep, cache=copy.deepcopy(text.cache))
            hidden = torch.cat([text.hidden, hidden], dim=1)
        return hidden, whole.valid

    def geometry_of(self, parts: dict[str, Tensor], ee_position: Tensor) -> None:
        """Nothing: such a model does not say where things are in numbers."""

    def check_cameras(self, contract: Contract, file: Path) -> None:
        """Any number of cameras of any size will do."""

    def _run(
        self, whole: Sequence, new: Sequence, deep: list[Tensor] | None = None, cache: DynamicCache | None = None
    ) -> Tensor:
        """The language model over ``new``, the last tokens of ``whole``; ``cache`` holds those before and takes these.

        ``deep``: see `Vision`, each (B * V * n, C).
        """
        n = new.embeds.shape[1]
        start = whole.advance.cumsum(1) - whole.advance + self.family.first_position
        position = start[:, -n:] if not self.family.m_rope else (start[..., None] + whole.offset)[:, -n:].movedim(-1, 0)
        extra = {"visual_pos_masks": new.kind >= 0, "deepstack_visual_embeds": deep} if deep else {}
        allowed = attention_mask(whole, self.family.attention, self.options.attention == "mutual")[:, None, -n:]
        text = self.model.config.get_text_config()
        mask: Tensor | dict[str, Tensor] = allowed
        if "sliding_attention" in (getattr(text, "layer_types", None) or ()):
            near = start[:, -n:, None] - start[:, None] < text.sliding_window  # by position: padding takes no place
            mask = {"full_attention": allowed, "sliding_attention": allowed & near[:, None]}
        return self.read(new.embeds, mask, position, **({} if cache is None else {"cache": cache}), **extra)

    def read(
        self,
        embeds: Tensor,
        mask: Tensor | dict[str, Tensor],
        position: Tensor,
        cache: DynamicCache | None = None,
        **extra: Any,
    ) -> Tensor:
        """The language model alone: embeddings (B, n, C) -> last hidden state (B, n, C).

        Args:
            mask: (B, 1, n, N) bool, or one for each kind of layer.  position: (B, n), or (3, B, n).
            cache: keys and values of the N - n tokens before.  extra: further arguments of the model.
        """
        return self.language(
            inputs_embeds=embeds.to(self.model.dtype),
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        ).last_hidden_state
