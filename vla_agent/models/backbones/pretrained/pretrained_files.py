"""Loading pretrained vision-language models from the hub or a folder, and saving trained ones.

vlm.json                                   `VLMOptions`
config.json, model.safetensors             the model without its language head and the dropped layers
tokenizer.json, preprocessor_config.json   those of the pretrained model
fused/                                     the self-supervised encoder with its image processor, and the projection
"""

from __future__ import annotations

import json
from contextlib import nullcontext
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
from vla_agent.files.policy.closed_list import OPTIONS, PROJECTION
from vla_agent.files.policy_files import PolicyFiles
from vla_agent.models.backbones.configuration_checks import DTYPES, read_plain_model, require_data
from vla_agent.models.backbones.pretrained.fused_vision import FusedVision
from vla_agent.models.backbones.pretrained.model_families import FAMILIES, GENERIC
from vla_agent.models.backbones.pretrained.pretrained_backbone import VLMBackbone, VLMOptions

FOLDER = "backbone"  # of a policy folder
PLAIN: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
WEIGHTS: dict[str, Any] = {"use_safetensors": True, **PLAIN}
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)


def open_vlm(source: str | PathLike[str], options: VLMOptions) -> VLMBackbone:
    """A pretrained model (a folder, or ``hf://OWNER/NAME``) as a backbone, with the layers that ``options`` keeps.

    Raises:
        CheckpointError: it cannot be loaded, is of another kind, names code, or ``options`` do not fit it.
    """
    files = read_plain_model(source)
    encoder = read_plain_model(options.fused) if options.fused else None
    try:
        with files.view() as view, encoder.view() if encoder else nullcontext() as fused:
            config = AutoConfig.from_pretrained(view, **PLAIN)
            _check(config, options, source)
            kept = _drop_layers(config, options.layer)
            whole, loading = AutoModelForImageTextToText.from_pretrained(
                view, config=config, dtype=getattr(torch, options.dtype), output_loading_info=True, **WEIGHTS
            )
            _refuse(source, {k: v for k, v in loading.items() if v and not (k == "unexpected_keys" and kept)})
            return _assemble(whole.model, view, options, fused)
    except UNREADABLE as error:
        raise _cannot(source, error) from error


def load_vlm(files: PolicyFiles) -> VLMBackbone:
    """The backbone that `save_vlm` wrote into the folder ``backbone`` of a policy.

    Raises:
        CheckpointError: something is missing, damaged, does not fit together, or names code.
    """
    folder = files.folder / FOLDER
    require_data(files, FOLDER)
    try:
        options = _options(files)
        if options.fused:
            require_data(files, f"{FOLDER}/fused")
        with files.view(FOLDER) as view:
            model, loading = AutoModel.from_pretrained(
                view, dtype=getattr(torch, options.dtype), output_loading_info=True, **WEIGHTS
            )
            _refuse(folder, {k: v for k, v in loading.items() if v})
            backbone = _assemble(model, view, options, view / "fused" if options.fused else None)
            if backbone.fused is not None:
                backbone.fused.project.load_state_dict(load_file(view / "fused" / PROJECTION))
            return backbone
    except UNREADABLE as error:
        raise _cannot(folder, error) from error


def _options(files: PolicyFiles) -> VLMOptions:
    fields: dict[str, Any] = files.json(f"{FOLDER}/{OPTIONS}")
    for key in ("image_size", "freeze"):
        fields[key] = tuple(fields[key])
    if fields["dtype"] not in DTYPES:
        raise ValueError(f"dtype {fields['dtype']}")
    return VLMOptions(**fields)


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


def _assemble(model: Any, view: Path, options: VLMOptions, fused: Path | None) -> VLMBackbone:
    tokenizer = AutoTokenizer.from_pretrained(view, **PLAIN)
    backbone = VLMBackbone(model, tokenizer, AutoImageProcessor.from_pretrained(view, backend="pil", **PLAIN), options)
    if fused is not None:
        encoder = AutoModel.from_pretrained(fused, dtype=getattr(torch, options.dtype), **WEIGHTS)
        fused_processor = AutoImageProcessor.from_pretrained(fused, backend="pil", **PLAIN)
        height, width = backbone.size
        backbone.fused = FusedVision(encoder, fused_processor, backbone.feature_dim, height / width)
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
        expected="config.json, safetensors, tokenizer and preprocessor_config.json that fit together",
        found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        remedy="check the name and the connection, or download it and give the folder",
    )
