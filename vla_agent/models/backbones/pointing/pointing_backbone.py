"""The small backbone behind the policy's interface: images and an instruction in, features out.

The interface of a backbone for policy and training, this one or a `pretrained_backbone.VLMBackbone`:

    feature_dim, geometry_dim              C, and the size G of `geometry_of`
    encode_text(texts) -> text             once an instruction; ``text.pick(rows)`` selects prompts
    features(images, text) -> features     named tensors (B, ...), among them ``hidden`` (B, N, C) and perhaps ``mask``
    geometry_of(features, ee_position)     (B, G) explicit points and positions, or None where the backbone has none;
                                           ee_position None: the state has none
    check_cameras(contract, file)          raises where it does not support the contract's cameras
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from vla_agent.contract import Contract
from vla_agent.errors import CheckpointError
from vla_agent.files.policy_files import PolicyFiles
from vla_agent.models.backbones.configuration_checks import require_data
from vla_agent.models.backbones.pointing.instruction_folding import FoldedVision, fold, foldable, folded_image_features
from vla_agent.models.backbones.pointing.pointing_vlm import Pointing, PointingVLM, PointMaps
from vla_agent.models.resizing import resized
from vla_agent.models.timing_sections import timed_section

FOLDER = "backbone"  # of a policy folder


@dataclass
class TextFeatures:
    """Features of the instruction: computed once an instruction, not once a step."""

    tokens: Tensor  # (B, L, C)
    summary: Tensor  # (B, C)
    mask: Tensor  # (B, L)
    folded: FoldedVision | None = None  # the vision's weights for this instruction; only for inference with one prompt

    def pick(self, index: Tensor) -> TextFeatures:
        """The features of the prompts in these rows."""
        return TextFeatures(self.tokens[index], self.summary[index], self.mask[index])


class Backbone(nn.Module):
    """A `PointingVLM` with its tokenizer and image processor.

    ``tokenizer`` and ``image_processor`` are saved beside the weights and loaded with them.
    """

    compilable = ("point", "reason")  # see `vla_agent.policy.speed.compiling`

    def __init__(self, model: PointingVLM, tokenizer: PreTrainedTokenizerBase, image_processor: Any) -> None:
        super().__init__()
        self.model, self.tokenizer, self.image_processor = model, tokenizer, image_processor
        self.keeps_stem = False  # whether `features` has the text-free ``stem`` (B, V, C4, h, w), for `Sight`
        self.register_buffer("mean", torch.tensor(image_processor.image_mean).view(1, 1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(image_processor.image_std).view(1, 1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    @property
    def feature_dim(self) -> int:
        return self.model.config.hidden_size

    @property
    def geometry_dim(self) -> int:
        config = self.model.config
        return geometry_dim(config.num_views, config.num_roles, config.keypoints)

    def fitted(self, images: Tensor | list[Tensor]) -> Tensor:
        """(P, V, H, W, 3) uint8, or V times (P, H, W, 3) of any sizes -> (P, V, H, W, 3) in the model's size."""
        height, width = self.model.config.image_size
        if isinstance(images, Tensor):
            return resized(images, (height, width))
        return torch.stack([resized(view, (height, width)) for view in images], dim=1)

    def pixels(self, images: Tensor | list[Tensor]) -> Tensor:
        """(P, V, H, W, 3) uint8 -> (P, V, 3, H, W) in the model's size, normalised as the image processor would."""
        images = self.fitted(images)
        return (images.movedim(-1, 2).float() / 255.0 - self.mean) / self.std

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts -> ids (B, L) and mask (B, L), right-padded."""
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.model.config.max_text_length, return_tensors="pt"
        )
        return batch["input_ids"], batch["attention_mask"]

    def encode_text(self, texts: list[str]) -> TextFeatures:
        ids, mask = self.tokenize(texts)
        ids, mask = ids.to(self.mean.device), mask.to(self.mean.device)
        with timed_section("instruction"):
            tokens, summary = self.model.text(ids, mask)
            text = TextFeatures(tokens, summary, mask)
            if len(texts) == 1 and not self.training and not torch.is_grad_enabled() and foldable(self.model):
                mean, std = self.mean.flatten(), self.std.flatten()
                text.folded = fold(self.model, text.tokens, text.summary, mask, mean, std)
        return text

    def forward(self, images: Tensor | list[Tensor], text: TextFeatures) -> Pointing:
        """(B, V, H, W, 3) uint8 and encoded text of B prompts -> hidden (B, N, C), points, seen, located."""
        return self.model.fuse(self.model.encode_images(self.pixels(images)), text.tokens, text.summary, text.mask)

    def features(self, images: Tensor | list[Tensor], text: TextFeatures) -> dict[str, Tensor]:
        """(B, V, H, W, 3) uint8 -> hidden (B, N, C), points (B, V, R, 2), seen (B, V, R), located (B, R, 3).

        Where the model has keypoints: keypoints (B, V, K, 2); where `keeps_stem` is set: stem (B, V, C4, h, w).
        """
        if text.folded is None:
            out = self(images, text)
        else:
            with timed_section("copy"):
                images = self.fitted(images).to(self.mean.device)
            with timed_section("vision"):
                point_maps = self.point(images, text.folded, text.summary)
            with timed_section("language"):
                out = self.reason(point_maps, text.tokens, text.summary, text.mask)
        return self.named_features(out)

    def named_features(self, out: Pointing) -> dict[str, Tensor]:
        """The outputs that the policy uses, by name; see `features`."""
        found = {"hidden": out.hidden, "points": out.points, "seen": out.seen, "located": out.located}
        found |= {} if out.keypoints is None else {"keypoints": out.keypoints}
        return found if not self.keeps_stem or out.stem is None else found | {"stem": out.stem}

    def point(self, images: Tensor, folded: FoldedVision, summary: Tensor) -> PointMaps:
        """The vision's part of `features`, for one prompt."""
        return self.model.point(folded_image_features(self.model, folded, images), summary)

    def reason(self, point_maps: PointMaps, tokens: Tensor, summary: Tensor, mask: Tensor) -> Pointing:
        """The transformer's part of `features`."""
        return self.model.reason(point_maps, tokens, summary, mask)

    def geometry_of(self, features: dict[str, Tensor], ee_position: Tensor | None) -> Tensor:
        """Explicit geometry: points, seen, located, located relative to the gripper, keypoints: (B, G).

        Args:
            features: points (B, V, R, 2), seen (B, V, R) logits, located (B, R, 3) metres, base frame; perhaps
                keypoints (B, V, K, 2).
            ee_position: (B, 3) metres, base frame; None: what is relative to the gripper is 0.
        """
        points, seen, located = features["points"], features["seen"], features["located"]
        # (B, R, 3)
        relative = torch.zeros_like(located) if ee_position is None else located - ee_position[:, None]
        parts: tuple[Tensor, ...]
        parts = ((points - 0.5) * 4, seen.sigmoid(), located * 4, relative * 8, torch.tanh(relative / 0.03))
        parts += ((features["keypoints"] - 0.5) * 4,) if "keypoints" in features else ()
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def check_cameras(self, contract: Contract, file: Path) -> None:
        """Check that the contract's cameras are those that the model was built for; one that resizes takes any size.

        Raises:
            CheckpointError: naming both.
        """
        config = self.model.config
        sizes = {(c.height, c.width) for c in contract.cameras}
        fit = config.resizes or sizes == {tuple(config.image_size)}
        if len(contract.cameras) != config.num_views or not fit:
            raise CheckpointError(
                "contract and backbone disagree on the cameras",
                file=file,
                key="contract.cameras",
                expected=f"{config.num_views} cameras of {tuple(config.image_size)}",
                found=[(c.name, c.height, c.width) for c in contract.cameras],
                remedy="get the checkpoint again: its parts come from different trainings",
            )

    def save(self, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
        """Weights in ``dtype``, statistics of the norms in fp32, safetensors."""
        params = {name for name, _ in self.model.named_parameters()}
        state = {k: v.to(dtype) if k in params else v for k, v in self.model.state_dict().items()}
        self.model.save_pretrained(folder, state_dict={k: v.contiguous() for k, v in state.items()})
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)

    @classmethod
    def load(cls, files: PolicyFiles) -> Backbone:
        """Load the folder ``backbone`` of a policy through transformers' Auto classes, in fp32.

        Raises:
            CheckpointError: something is missing, damaged, of another architecture, or names code.
        """
        require_data(files, FOLDER, (PointingVLM.config_class.model_type,))
        disable_progress_bar()  # the weights are read in milliseconds, once in each worker
        folder, plain = files.folder / FOLDER, {"trust_remote_code": False, "local_files_only": True}
        try:
            with files.view(FOLDER) as view:
                model, loading = AutoModelForImageTextToText.from_pretrained(
                    view, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **plain
                )
                tokenizer = AutoTokenizer.from_pretrained(view, **plain)
                processor = AutoImageProcessor.from_pretrained(view, backend="pil", **plain)
            if tokenizer.pad_token is None:
                raise ValueError("the tokenizer has no token to pad with")
            for key in ("image_mean", "image_std"):
                if np.shape(getattr(processor, key)) != (3,):
                    raise ValueError(f"{key} of the image processor is not three numbers")
        except Exception as error:
            raise CheckpointError(
                "the backbone cannot be loaded",
                file=folder,
                expected="config.json, model.safetensors, tokenizer.json, preprocessor_config.json, whole and matching",
                found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
                remedy="get the checkpoint again or retrain",
            ) from error
        wrong = {what: sorted(map(str, keys)) for what, keys in loading.items() if keys}
        if wrong:
            raise CheckpointError(
                "the backbone's weights do not fit its description",
                file=folder / "model.safetensors",
                key=next(iter(wrong.values()))[0],
                expected="every weight that config.json asks for, and no other",
                found="; ".join(f"{len(keys)} {what.replace('_', ' ')}" for what, keys in wrong.items()),
                remedy="get the checkpoint again or retrain",
            )
        if not isinstance(model, PointingVLM):
            raise CheckpointError(
                "the backbone is of another architecture",
                file=folder,
                key="model_type",
                expected=PointingVLM.config_class.model_type,
                found=model.config.model_type,
                remedy="use a backbone that this project trained",
            )
        return cls(model, tokenizer, processor)


def geometry_dim(views: int, roles: int, keypoints: int = 0) -> int:
    """Size G of `Backbone.geometry_of` for V views, R roles, and K keypoints a view."""
    return views * roles * 3 + roles * 9 + views * keypoints * 2


def stack_images(images: dict[str, np.ndarray], names: tuple[str, ...]) -> Tensor | list[Tensor]:
    """One observation's images -> (1, V, H, W, 3) uint8 in the contract's camera order.

    Cameras of different sizes: V tensors (1, H, W, 3).
    """
    views = [images[name] for name in names]
    if len({view.shape for view in views}) > 1:
        return [torch.from_numpy(np.ascontiguousarray(view))[None] for view in views]
    return torch.from_numpy(np.stack(views))[None]
