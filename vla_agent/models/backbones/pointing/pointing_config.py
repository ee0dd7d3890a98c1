"""Sizes of the small vision-language model; see `vla_agent.models.backbones.pointing.pointing_vlm`."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class PointingVLMConfig(PretrainedConfig):
    """Sizes of a `PointingVLM`.

    Args:
        vocab_size: tokens of the tokenizer beside it.
        hidden_size: C, width of text, slots and hidden tokens; ``num_attention_heads`` divides it.
        stem_channels: (C4, C8) channels at a quarter and an eighth of the picture's size.
        film_blocks: text-conditioned convolutions at an eighth of the size.
        text_layers, fusion_layers, decoder_layers: transformer depths.
        num_names: shapes and colours that the stem learns to tell apart.
        num_views, num_roles, num_queries: V, R and Q.
        move_kernel: cells along a side of the kernel that moves a candidate (odd); 0 for no moving.
        image_size: (H, W), multiples of 8.
        dropout: of the transformers.
    """

    model_type = "pointing_vlm"

    def __init__(
        self,
        vocab_size: int = 512,
        hidden_size: int = 128,
        num_attention_heads: int = 4,
        stem_channels: tuple[int, int] = (48, 96),
        film_blocks: int = 2,
        text_layers: int = 2,
        fusion_layers: int = 2,
        decoder_layers: int = 1,
        num_names: tuple[int, int] = (9, 8),
        num_views: int = 2,
        num_roles: int = 2,
        num_queries: int = 4,
        move_kernel: int = 0,
        image_size: tuple[int, int] = (96, 96),
        max_text_length: int = 40,
        dropout: float = 0.0,
        pad_token_id: int = 0,
        bos_token_id: int = 1,
        eos_token_id: int = 2,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_attention_heads = num_attention_heads
        self.stem_channels = list(stem_channels)
        self.film_blocks = film_blocks
        self.text_layers = text_layers
        self.fusion_layers = fusion_layers
        self.decoder_layers = decoder_layers
        self.num_names = list(num_names)
        self.num_views = num_views
        self.num_roles = num_roles
        self.num_queries = num_queries
        self.move_kernel = move_kernel
        self.image_size = list(image_size)
        self.max_text_length = max_text_length
        self.dropout = dropout
        super().__init__(pad_token_id=pad_token_id, bos_token_id=bos_token_id, eos_token_id=eos_token_id, **kwargs)
        self.pad_token_id, self.bos_token_id, self.eos_token_id = pad_token_id, bos_token_id, eos_token_id
