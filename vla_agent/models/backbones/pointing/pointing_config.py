"""Sizes of the small vision-language model; see `vla_agent.models.backbones.pointing.pointing_vlm`."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class PointingVLMConfig(PretrainedConfig):
    """Sizes of a `PointingVLM`; every field is a keyword argument.  ``config.json`` holds them all."""

    model_type = "pointing_vlm"

    vocab_size: int = 512  # tokens of the tokenizer beside it
    hidden_size: int = 128  # C, width of text, slots and hidden tokens; a multiple of num_attention_heads
    num_attention_heads: int = 4
    stem_channels: tuple[int, int] = (48, 96)  # C4, C8: channels at a quarter and an eighth of the image's size
    film_blocks: int = 2  # text-conditioned convolutions at an eighth of the size
    text_layers: int = 2  # depth of the transformers
    fusion_layers: int = 2
    decoder_layers: int = 1
    num_names: tuple[int, int] = (9, 8)  # shapes and colours that the stem learns to classify
    num_views: int = 2  # V
    num_roles: int = 2  # R
    num_queries: int = 4  # Q
    move_kernel: int = 0  # cells along a side of the kernel that moves a candidate (odd); 0: none is moved
    keypoints: int = 0  # K of each view, learned with the actions alone (spatial softmax); 0: none
    image_size: tuple[int, int] = (96, 96)  # H, W; multiples of 8, or at least of 4
    resizes: bool = False  # whether cameras have other sizes, which the backbone resizes to that
    max_text_length: int = 40
    dropout: float = 0.0  # of the transformers
    pad_token_id: int = 0
    bos_token_id: int = 1
    eos_token_id: int = 2

    def __init__(self, **kwargs: Any) -> None:
        fields = PointingVLMConfig.__annotations__
        sizes = {name: kwargs.pop(name, getattr(PointingVLMConfig, name)) for name in fields}
        super().__init__(**kwargs)
        for name, value in sizes.items():
            setattr(self, name, list(value) if isinstance(value, tuple) else value)
