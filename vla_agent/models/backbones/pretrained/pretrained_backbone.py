"""Any pretrained vision-language model of transformers as a backbone: images and an instruction in, hidden tokens out.

    images --resize, normalise--> vision tower, projector --------> image tokens (B, V * n, C)
                     (+ self-supervised features of the same image, fused)
    instruction ----------------> tokenizer, embedding -----------> text tokens (B, L, C)
    [before | image tokens of each view | instruction | after] --first ``layer`` decoder layers--> hidden (B, N, C)

The sequence is built here and fed to the language model directly, so that positions, attention and padding are the
same few lines for every family; `pretrained.model_families` holds the differences.  B prompts, V views, n tokens each.
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
from vla_agent.models.backbones.pretrained.model_families import FAMILIES, GENERIC, ImageTokens
from vla_agent.models.backbones.pretrained.token_sequence import TokenSequence, attention_mask
from vla_agent.models.timing_sections import timed_section

PARTS = ("vision", "projector", "language")


@dataclass(frozen=True)
class VLMOptions:
    """How a pretrained model is used.

    Args:
        layer: decoder layers to keep, the last of which feeds the head; those above are dropped.  0 keeps all.
        image_size: (height, width) of the vision tower's input; empty for that of its training.
        instruction: ``last``, after the images, as most models were trained; ``first``, before them: the image tokens
            then attend to it, and with causal attention it is encoded once an instruction, not once a step.
        attention: ``own``, the family's; ``mutual``: image tokens also attend to the instruction after them (AKI).
        freeze: parts that are not trained: vision, projector, language.
        fused: self-supervised vision encoder (DINOv2) whose features are fused in, a folder or hf://OWNER/NAME; empty:
            none.
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
    """Tokenised instructions, right-padded, and, where they come first, their hidden states and cache."""

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
    compilable = ("image_tokens", "_decode")  # see `vla_agent.policy.speed.compiling`

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
        self._template_ids: dict[str, list[int]] = {}
        mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (image_processor.image_mean, image_processor.image_std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.freeze()

    @property
    def language(self) -> nn.Module:
        """The language model."""
        return self.model.get_submodule(self.family.language[0])

    @property
    def learns(self) -> bool:
        """Whether a part is left to train."""
        return any(p.requires_grad for p in self.parameters())

    def freeze(self) -> None:
        """Freeze the parts that ``options.freeze`` names, and a second encoder."""
        present = dict(self.model.named_modules())
        if set(self.options.freeze) >= set(PARTS):
            self.model.requires_grad_(False)
        for frozen in self.options.freeze:
            for name in getattr(self.family, frozen):
                if (
                    name in present
                ):  # some families have the projector inside the vision tower, or lack one of its parts
                    present[name].requires_grad_(False)
        if self.fused is not None:
            self.fused.encoder.requires_grad_(False)

    # ---- the instruction

    def encode_text(self, texts: list[str]) -> Prompt:
        """Tokenise; where the instruction comes first and attends to nothing after it, run the language model too."""
        f, first = self.family, self.options.instruction == "first"
        around = (f.before + f.lead, "") if first else (f.lead, f.after)
        rows = [self._ids(around[0] + text + around[1]) for text in texts]
        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), True
        prompt = Prompt(ids, mask)
        if first and f.attention != "full" and not torch.is_grad_enabled():
            with timed_section("instruction"):
                tokens = self._embed(prompt.ids, prompt.mask)
                prompt.cache = DynamicCache()
                prompt.hidden = self._decode(tokens, tokens, cache=prompt.cache)
        return prompt

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _embed(self, ids: Tensor, mask: Tensor) -> TokenSequence:
        ids, mask = ids.to(self.mean.device), mask.to(self.mean.device)
        zero = torch.zeros_like(ids)
        offset = zero[..., None].expand(-1, -1, 3)
        return TokenSequence(self.language.get_input_embeddings()(ids), mask, zero - 1, mask.long(), offset)

    def _embed_template(self, text: str, batch: int) -> TokenSequence:
        """A text of the family's template, which comes with every image: tokenised once."""
        if text not in self._template_ids:
            self._template_ids[text] = self._ids(text)
        ids = torch.tensor(self._template_ids[text], dtype=torch.long).expand(batch, -1)
        return self._embed(ids, torch.ones_like(ids, dtype=torch.bool))

    # ---- the images

    def pixels(self, images: Tensor) -> Tensor:
        """(P, H, W, 3) uint8 -> (P, 3, h, w) in [0, 1]: resized with its aspect ratio kept, padded with black."""
        x = images.to(self.mean.device).movedim(-1, 1).float() / 255
        (h, w), (height, width) = self.size, x.shape[2:]
        scale = min(h / height, w / width)
        inner = round(height * scale), round(width * scale)
        if inner != (height, width):
            x = F.interpolate(x, inner, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        top, left = (h - inner[0]) // 2, (w - inner[1]) // 2
        return F.pad(x, (left, w - inner[1] - left, top, h - inner[0] - top))

    def image_tokens(self, pixels: Tensor) -> ImageTokens:
        """(P, 3, h, w) in [0, 1] -> image tokens (P, n, C)."""
        image = self.family.encode(self.model, ((pixels - self.mean) / self.std).to(self.model.dtype))
        if self.fused is not None:
            image.tokens = self.fused(image.tokens, pixels)
        return image

    def _view(self, tokens: Tensor, number: int) -> TokenSequence:
        b, n, _ = tokens.shape
        kind = torch.full((b, n), number, device=tokens.device)
        advance, offset = torch.ones_like(kind), torch.zeros(b, n, 3, dtype=torch.long, device=tokens.device)
        if self.family.m_rope:  # all tokens of an image share one position, offset by their row and column
            cell = self.model.config.vision_config.patch_size * self.model.config.vision_config.spatial_merge_size
            rows, columns = self.size[0] // cell, self.size[1] // cell
            index = torch.arange(n, device=tokens.device)
            offset[..., 1], offset[..., 2] = index // columns, index % columns
            advance = torch.zeros_like(kind)
            advance[:, -1] = max(rows, columns)
        return TokenSequence(tokens, torch.ones_like(kind, dtype=torch.bool), kind, advance, offset)

    # ---- both

    def features(self, images: Tensor | list[Tensor], text: Prompt) -> dict[str, Tensor]:
        """Images of V views and B prompts -> ``hidden`` (B, N, C) fp32 and ``mask`` (B, N).

        Args:
            images: (B, V, H, W, 3) uint8, or a list of V tensors (B, H, W, 3) where cameras differ in size.
        """
        views = list(images.unbind(1)) if isinstance(images, Tensor) else images
        with timed_section("copy"):
            pixels = torch.cat([self.pixels(v) for v in views])  # all views in one batch
        with timed_section("vision"):
            image = self.image_tokens(pixels)
        with timed_section("language"):
            hidden, valid = self._hidden_states(image, len(views), text)
        return {"hidden": hidden.float(), "mask": valid}

    def _hidden_states(self, image: ImageTokens, views: int, text: Prompt) -> tuple[Tensor, Tensor]:
        """Image tokens and instruction through the language model: hidden (B, N, C) and valid (B, N)."""
        b, f = len(text.ids), self.family
        start, end = self._embed_template(f.start, b), self._embed_template(f.end, b)
        parts: list[TokenSequence] = []
        for number, tokens in enumerate(image.tokens.unflatten(0, (views, b))):
            parts += [start, self._view(tokens, number), end]
        prompt = self._embed(text.ids, text.mask)
        if self.options.instruction == "first":
            parts = [prompt, *parts, self._embed_template(f.after, b)]
        else:
            parts = [self._embed_template(f.before, b), *parts, prompt]
        whole = TokenSequence.join(parts)
        deep = [d.unflatten(0, (views, b)).transpose(0, 1).flatten(0, 2) for d in image.deep]
        if text.cache is None or text.hidden is None:
            hidden = self._decode(whole, whole, deep)
        else:
            hidden = self._decode(whole, TokenSequence.join(parts[1:]), deep, cache=copy.deepcopy(text.cache))
            hidden = torch.cat([text.hidden, hidden], dim=1)
        return hidden, whole.valid

    def geometry_of(self, features: dict[str, Tensor], ee_position: Tensor | None) -> None:
        """None: such a model has no explicit geometry."""

    def check_cameras(self, contract: Contract, file: Path) -> None:
        """Any number of cameras of any size is supported."""

    def _decode(
        self,
        whole: TokenSequence,
        new: TokenSequence,
        deep: list[Tensor] | None = None,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """The language model over ``new``, the last tokens of ``whole``; ``cache`` holds the others and is extended.

        ``deep``: see `ImageTokens`, each (B * V * n, C).
        """
        n = new.embeds.shape[1]
        start = whole.advance.cumsum(1) - whole.advance + self.family.first_position
        position = start[:, -n:] if not self.family.m_rope else (start[..., None] + whole.offset)[:, -n:].movedim(-1, 0)
        extra = {"visual_pos_masks": new.kind >= 0, "deepstack_visual_embeds": deep} if deep else {}
        allowed = attention_mask(whole, self.family.attention, self.options.attention == "mutual")[:, None, -n:]
        text = self.model.config.get_text_config()
        mask: Tensor | dict[str, Tensor] = allowed
        if "sliding_attention" in (getattr(text, "layer_types", None) or ()):
            near = start[:, -n:, None] - start[:, None] < text.sliding_window  # by position: padding has none
            mask = {"full_attention": allowed, "sliding_attention": allowed & near[:, None]}
        return self.language_states(new.embeds, mask, position, **({} if cache is None else {"cache": cache}), **extra)

    def language_states(
        self,
        embeds: Tensor,
        mask: Tensor | dict[str, Tensor],
        position: Tensor,
        cache: DynamicCache | None = None,
        **extra: Any,
    ) -> Tensor:
        """The language model: embeddings (B, n, C) -> last hidden state (B, n, C).

        Args:
            mask: (B, 1, n, N) bool, or one for each type of layer.  position: (B, n), or (3, B, n).
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
