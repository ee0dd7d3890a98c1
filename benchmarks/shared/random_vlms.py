"""Vision-language models with random weights, built from their family's own configuration, saved as on the hub.

Small ones test the code for their family; models of real size show memory and speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXTS = ["put the red mug in the tray", "open the drawer", "user assistant model User: Assistant:"]
SPECIAL = [
    *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<image>"),
    *("<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<fake_token_around_image>"),
    *("<global-img>", "<end_of_utterance>", "<img>", "</img>", "<IMG_CONTEXT>"),
]
IMAGE_TOKEN = {"qwen2_5_vl": "<|image_pad|>", "qwen3_vl": "<|image_pad|>", "internvl": "<IMG_CONTEXT>"}

_TEXT = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
_TEXT |= {"num_hidden_layers": 4, "head_dim": 16, "max_position_embeddings": 1024}
_SIGLIP = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "num_hidden_layers": 2}
_QWEN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SMALL: dict[str, dict[str, Any]] = {
    "smolvlm": {
        "vision_config": _SIGLIP | {"image_size": 64, "patch_size": 8},
        "text_config": _TEXT | {"model_type": "llama"},
        "scale_factor": 2,
    },
    "idefics3": {
        "vision_config": _SIGLIP | {"image_size": 64, "patch_size": 8},
        "text_config": _TEXT | {"model_type": "llama"},
        "scale_factor": 2,
    },
    "qwen2_5_vl": {
        "vision_config": {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "patch_size": 8}
        | {"out_hidden_size": 64, "window_size": 32, "fullatt_block_indexes": [1], "in_channels": 3},
        "text_config": _TEXT | {"rope_parameters": _QWEN_ROPE | {"mrope_section": [2, 3, 3]}},
        "tie_word_embeddings": False,
    },
    "qwen3_vl": {
        "vision_config": {"depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "patch_size": 8}
        | {"out_hidden_size": 64, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64},
        "text_config": _TEXT | {"rope_parameters": _QWEN_ROPE | {"mrope_section": [2, 3, 3]}},
    },
    "paligemma": {
        "vision_config": _SIGLIP
        | {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14}
        | {"vision_use_head": False, "projection_dim": 64},
        "text_config": _TEXT | {"model_type": "gemma"},
        "projection_dim": 64,
    },
    "gemma3": {
        "vision_config": _SIGLIP
        | {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14}
        | {"vision_use_head": False},
        "text_config": _TEXT
        | {"model_type": "gemma3_text", "sliding_window": 24}
        | {"layer_types": ["sliding_attention", "full_attention"] * 2},
        "mm_tokens_per_image": 4,
    },
    "llava_onevision": {
        "vision_config": _SIGLIP
        | {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14}
        | {"vision_use_head": False},
        "text_config": _TEXT | {"model_type": "qwen2"},
        "image_grid_pinpoints": [[56, 56]],
    },
    "internvl": {
        "vision_config": _SIGLIP | {"image_size": [56, 56], "patch_size": [14, 14]},
        "text_config": _TEXT | {"model_type": "qwen2"},
    },
}


def save_small_vlm(family: str, folder: Path, seed: int = 0) -> Path:
    """A small model of ``family`` with tokenizer and image processor in ``folder``."""
    return save_random_vlm(family, SMALL[family], folder, seed)


def save_random_vlm(
    family: str,
    sizes: dict[str, Any],
    folder: Path,
    seed: int = 0,
    dtype: str = "float32",
    texts: Sequence[str] = TEXTS,
) -> Path:
    """A model of ``family`` with these sizes (arguments of its config class) and random weights.

    ``texts``: whose words its tokenizer knows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from vla_agent.training.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(texts)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    text = dict(sizes["text_config"])
    text.setdefault("vocab_size", len(tokenizer))
    text |= {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
    text |= {"eos_token_id": tokenizer.eos_token_id}
    ids = tokenizer.convert_tokens_to_ids
    image = ids(IMAGE_TOKEN.get(family, "<image>"))
    key = "image_token_index" if family in ("paligemma", "llava_onevision") else "image_token_id"
    tokens = {key: image}
    if family.startswith("qwen"):
        tokens |= {"video_token_id": ids("<|video_pad|>"), "vision_start_token_id": ids("<|vision_start|>")}
        tokens |= {"vision_end_token_id": ids("<|vision_end|>")}
    config = AutoConfig.for_model(family, **(sizes | {"text_config": text} | tokens))
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    finally:
        torch.set_default_dtype(before)
    if family == "gemma3":  # initialised to zero, so that no gradient would reach the vision encoder
        torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.1)
    model.save_pretrained(folder, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)
    _image_processor(family, config).save_pretrained(folder)
    return folder


def save_small_dinov2(folder: Path, seed: int = 0) -> Path:
    """A small self-supervised vision encoder in ``folder``."""
    import torch
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
    BitImageProcessorPil(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]).save_pretrained(folder)
    return folder


def _image_processor(family: str, config: Any) -> Any:
    import transformers

    names = {
        "smolvlm": "SmolVLMImageProcessorPil",
        "idefics3": "Idefics3ImageProcessorPil",
        "qwen2_5_vl": "Qwen2VLImageProcessorPil",
        "qwen3_vl": "Qwen2VLImageProcessorPil",
        "paligemma": "SiglipImageProcessorPil",
        "gemma3": "Gemma3ImageProcessorPil",
        "llava_onevision": "LlavaOnevisionImageProcessorPil",
        "internvl": "GotOcr2ImageProcessorPil",
    }
    options: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if family.startswith("qwen"):
        options |= {
            "patch_size": config.vision_config.patch_size,
            "merge_size": config.vision_config.spatial_merge_size,
        }
    return getattr(transformers, names[family])(**options)
