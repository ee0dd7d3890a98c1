"""Differences between families of vision-language models, in one table; see `pretrained.pretrained_backbone`.

A family that is not in the table is `GENERIC`: bare image tokens before the instruction, causal attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class ImageTokens:
    """The image tokens of P images."""

    tokens: Tensor  # (P, n, C), row by row
    deep: tuple[Tensor, ...] = ()  # each (P, n, C): added to the image tokens after the first decoder layers


def _plain(model: nn.Module, pixels: Tensor) -> ImageTokens:
    """(P, 3, H, W) normalised pixels; the model projects the vision tower's features itself."""
    tokens = model.get_image_features(pixels).pooler_output
    return ImageTokens(tokens if isinstance(tokens, Tensor) else torch.stack(tuple(tokens)))


def _idefics(model: nn.Module, pixels: Tensor) -> ImageTokens:
    """Without `get_image_features`, which drops images that are all zeros."""
    return ImageTokens(model.connector(model.vision_model(pixel_values=pixels).last_hidden_state))


def _qwen(model: nn.Module, pixels: Tensor) -> ImageTokens:
    """Qwen's vision tower takes a flat list of patches, merged ones together, each image twice (as two frames)."""
    config = model.config.vision_config
    p, m = config.patch_size, config.spatial_merge_size
    b, _, height, width = pixels.shape
    h, w = height // p, width // p
    x = pixels.view(b, 3, h // m, m, p, w // m, m, p).permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, h/m, w/m, m, m, 3, p, p)
    x = x.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, config.temporal_patch_size, -1, -1).reshape(b * h * w, -1)
    grid = torch.tensor([[1, h, w]], device=pixels.device).expand(b, 3)
    out = model.get_image_features(x, grid)
    return ImageTokens(
        torch.stack(tuple(out.pooler_output)),
        tuple(torch.stack(tuple(deep)) for deep in getattr(out, "deepstack_features", None) or ()),
    )


def _llava_onevision(model: nn.Module, pixels: Tensor) -> ImageTokens:
    """The base image only, without the tiles of high resolution; a newline token ends it."""
    layer = model.config.vision_feature_layer
    layers = [layer] if isinstance(layer, int) else layer
    hidden = model.vision_tower(pixels, output_hidden_states=True).hidden_states
    x = torch.cat([hidden[i] for i in layers], dim=-1)
    if model.config.vision_feature_select_strategy == "default":
        x = x[:, 1:]
    x = model.multi_modal_projector(x)
    return ImageTokens(torch.cat([x, model.image_newline.to(x).expand(len(x), 1, -1)], dim=1))


@dataclass(frozen=True)
class Family:
    """One row of the table.

    before, after: text around the whole; ``start``, ``end``: around the tokens of each image; ``lead``: before the
    instruction.
    attention: ``causal``; ``images``: the tokens of one image attend to each other; ``full``: all attend to all.
    sizes: image sizes of the vision tower: ``own``, that of its training; any ``square``; or ``any``.
    m_rope: positions have three axes: time, row and column of an image.
    """

    before: str = ""
    start: str = ""
    end: str = ""
    lead: str = ""
    after: str = "\n"
    attention: str = "causal"
    sizes: str = "own"
    m_rope: bool = False
    first_position: int = 0
    encode: Callable[[nn.Module, Tensor], ImageTokens] = _plain
    vision: tuple[str, ...] = ("vision_tower",)
    projector: tuple[str, ...] = ("multi_modal_projector",)
    language: tuple[str, ...] = ("language_model",)


_QWEN = Family(
    before="<|im_start|>user\n",
    start="<|vision_start|>",
    end="<|vision_end|>",
    after="<|im_end|>\n<|im_start|>assistant\n",
    sizes="any",
    m_rope=True,
    encode=_qwen,
    vision=("visual",),
    projector=("visual.merger", "visual.deepstack_merger_list"),
)
_IDEFICS = Family(
    before="<|im_start|>User:",
    start="<fake_token_around_image><global-img>",
    end="<fake_token_around_image>",
    after="<end_of_utterance>\nAssistant:",
    sizes="square",
    encode=_idefics,
    vision=("vision_model",),
    projector=("connector",),
    language=("text_model",),
)
GENERIC = Family()
FAMILIES: dict[str, Family] = {
    "smolvlm": _IDEFICS,
    "idefics3": _IDEFICS,
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "paligemma": Family(lead="<bos>", attention="full", first_position=1),
    "gemma3": Family(
        before="<bos><start_of_turn>user\n",
        start="\n\n<start_of_image>",
        end="<end_of_image>\n\n",
        after="<end_of_turn>\n<start_of_turn>model\n",
        attention="images",
    ),
    "llava_onevision": Family(
        before="<|im_start|>user ",
        end="\n",
        after="<|im_end|><|im_start|>assistant\n",
        encode=_llava_onevision,
    ),
    "internvl": Family(
        before="<|im_start|>user\n",
        start="<img>",
        end="</img>\n",
        after="<|im_end|>\n<|im_start|>assistant\n",
        sizes="square",
    ),
}
