"""Loading pretrained vision-language models from the hub or a folder, and saving trained ones.

vlm.json                                   `VLMOptions`
config.json, model.safetensors             the model without its language head and the dropped layers
tokenizer.json, preprocessor_config.json   those of the pretrained model
fused/                                     the self-supervised encoder with its image processor, and the projection
"""

from __future__ import annotations

import json
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
)

from vla_agent.errors import CheckpointError
from vla_agent.models.backbones.pretrained.fused_vision import FusedVision
from vla_agent.models.backbones.pretrained.model_families import FAMILIES, GENERIC
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone, VLMOptions

OPTIONS = "vlm.json"
PROJECTION = "projection.safetensors"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)


def open_vlm(source: str | PathLike[str], options: VLMOptions) -> VLMBackbone:
    """A pretrained model (hub id or folder) as a backbone, with the decoder layers that ``options`` keeps.

    Raises:
        CheckpointError: it cannot be loaded, is of another kind, or ``options`` do not fit it.
    """
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        _check(config, options, source)
        kept = _drop_layers(config, options.layer)
        whole, loading = AutoModelForImageTextToText.from_pretrained(
            source,
            trust_remote_code=False,
            config=config,
            dtype=getattr(torch, options.dtype),
            use_safetensors=True,
            output_loading_info=True,
        )
        _refuse(source, {k: v for k, v in loading.items() if v and not (k == "unexpected_keys" and kept)})
        return _assemble(whole.model, source, options)
    except UNREADABLE as error:
        raise _cannot(source, error) from error


def load_vlm(folder: str | PathLike[str]) -> VLMBackbone:
    """The backbone that `save_vlm` wrote.

    Raises:
        CheckpointError: something is missing, damaged, or does not fit together.
    """
    try:
        fields: dict[str, Any] = json.loads((Path(folder) / OPTIONS).read_text())
        for key in ("image_size", "freeze"):
            fields[key] = tuple(fields[key])
        options = VLMOptions(**fields)
        model, loading = AutoModel.from_pretrained(
            folder,
            trust_remote_code=False,
            dtype=getattr(torch, options.dtype),
            use_safetensors=True,
            output_loading_info=True,
        )
        _refuse(folder, {k: v for k, v in loading.items() if v})
        return _assemble(model, folder, options, Path(folder) / "fused")
    except UNREADABLE as error:
        raise _cannot(folder, error) from error


def save_vlm(backbone: VLMBackbone, folder: Path) -> None:
    """Write everything that `load_vlm` needs; weights as safetensors in their own dtype."""
    backbone.model.save_pretrained(folder, max_shard_size="1TB")
    backbone.tokenizer.save_pretrained(folder)
    backbone.image_processor.save_pretrained(folder)
    if backbone.fused is not None:
        backbone.fused.encoder.save_pretrained(folder / "fused", max_shard_size="1TB")
        backbone.fused.image_processor.save_pretrained(folder / "fused")
        projection = {k: v.contiguous() for k, v in backbone.fused.project.state_dict().items()}
        save_file(projection, folder / "fused" / PROJECTION)
    (folder / OPTIONS).write_text(json.dumps(asdict(backbone.options), indent=2) + "\n")


def _assemble(model: Any, source: str | PathLike[str], options: VLMOptions, saved: Path | None = None) -> VLMBackbone:
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    processor = AutoImageProcessor.from_pretrained(source, trust_remote_code=False, backend="pil")
    backbone = VLMBackbone(model, tokenizer, processor, options)
    if options.fused:
        fused_source = saved or options.fused
        encoder = AutoModel.from_pretrained(
            fused_source, trust_remote_code=False, dtype=getattr(torch, options.dtype), use_safetensors=True
        )
        fused_processor = AutoImageProcessor.from_pretrained(fused_source, trust_remote_code=False, backend="pil")
        height, width = backbone.size
        backbone.fused = FusedVision(encoder, fused_processor, backbone.feature_dim, height / width)
        if saved:
            backbone.fused.project.load_state_dict(load_file(saved / PROJECTION))
    return backbone


def _check(config: PretrainedConfig, options: VLMOptions, source: str | PathLike[str]) -> None:
    """Check that the options fit the model."""

    def refuse(key: str, expected: object, found: object, remedy: str) -> CheckpointError:
        return CheckpointError(
            "the settings do not fit the vision-language model",
            file=source,
            key=f"vlm.{key}",
            expected=expected,
            found=found,
            remedy=remedy,
        )

    if not hasattr(config, "vision_config"):
        raise refuse(
            "model", "a vision-language model: " + ", ".join(FAMILIES), config.model_type, "choose another model"
        )
    family, vision = FAMILIES.get(config.model_type, GENERIC), config.vision_config
    layers = config.get_text_config().num_hidden_layers
    if not 0 <= options.layer <= layers:
        raise refuse("layer", f"1 to {layers}, or 0 for all", options.layer, "choose one of its layers")
    if options.image_size:
        patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
        merged = round(1 / config.downsample_ratio) if hasattr(config, "downsample_ratio") else 1
        cell = patch * getattr(vision, "spatial_merge_size", getattr(config, "scale_factor", merged))
        if len(options.image_size) != 2 or any(side < cell or side % cell for side in options.image_size):
            raise refuse("image_size", f"[height, width], multiples of {cell}", options.image_size, "round it")
        own = getattr(vision, "image_size", None)
        if family.sizes == "square" and len(set(options.image_size)) > 1:
            raise refuse("image_size", "a square, the only shape of this family", options.image_size, "make it square")
        if family.sizes == "own" and own and set(options.image_size) != {own}:
            raise refuse(
                "image_size", f"[{own}, {own}], the only size of this family", options.image_size, "leave it out"
            )


def _drop_layers(config: PretrainedConfig, layer: int) -> bool:
    """Reduce the text config to ``layer`` layers; returns whether there were more."""
    text = config.get_text_config()
    if not layer or layer == text.num_hidden_layers:
        return False
    text.num_hidden_layers = layer
    if getattr(text, "layer_types", None):
        text.layer_types = list(text.layer_types)[:layer]
    return True


def _refuse(source: str | PathLike[str], wrong: dict[str, Any]) -> None:
    if wrong:
        raise CheckpointError(
            "the backbone's weights do not fit its description",
            file=source,
            key=str(sorted(map(str, next(iter(wrong.values()))))[0]),
            expected="every weight that config.json asks for, and no other",
            found="; ".join(f"{len(keys)} {what.replace('_', ' ')}" for what, keys in wrong.items()),
            remedy="get the checkpoint again",
        )


def _cannot(source: str | PathLike[str], error: Exception) -> CheckpointError:
    return CheckpointError(
        "the vision-language model cannot be loaded",
        file=source,
        key="vlm.model",
        expected="a hub id or a folder with config.json, safetensors, tokenizer and preprocessor_config.json",
        found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        remedy="check the name and the connection, or download it and give the folder",
    )
