"""Self-supervised features beside the language-aligned ones, projected together (Prismatic, OpenVLA)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 224  # side of the second encoder's input


class FusedVision(nn.Module):
    """Adds to each image token an MLP's output for it and the second encoder's features at the same position.

    The MLP's last layer starts at zero: untrained, the pretrained model gets the tokens that it was trained with.

    Args:
        encoder: a patch encoder such as DINOv2; it is frozen.
        image_processor: that of the encoder; only its normalisation is used.
        feature_dim: C of the image tokens.
        aspect: height over width of the images.
    """

    def __init__(self, encoder: nn.Module, image_processor: Any, feature_dim: int, aspect: float) -> None:
        super().__init__()
        self.encoder, self.image_processor = encoder.requires_grad_(False), image_processor
        self.register_buffer("mean", torch.tensor(image_processor.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(image_processor.image_std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.aspect = aspect
        width = feature_dim + encoder.config.hidden_size
        self.project = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feature_dim), nn.GELU(), nn.Linear(feature_dim, feature_dim)
        )
        nn.init.zeros_(self.project[3].weight)
        nn.init.zeros_(self.project[3].bias)

    def forward(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        """Image tokens (P, n, C), pixels (P, 3, H, W) in [0, 1] -> image tokens (P, n, C)."""
        rows = round((tokens.shape[1] * self.aspect) ** 0.5)
        columns = tokens.shape[1] // rows
        patch = self.encoder.config.patch_size
        side = SIZE // patch
        x = F.interpolate(pixels, (side * patch,) * 2, mode="bilinear", antialias=True, align_corners=False)
        x = self.encoder(((x - self.mean) / self.std).to(self.encoder.dtype)).last_hidden_state[:, -side * side :]
        x = F.adaptive_avg_pool2d(x.transpose(1, 2).unflatten(2, (side, side)), (rows, columns)).flatten(2)
        patches = tokens[:, : rows * columns]
        both = torch.cat([patches, x.transpose(1, 2).to(patches)], dim=-1).to(self.project[1].weight)
        return torch.cat([patches + self.project(both).to(patches), tokens[:, rows * columns :]], dim=1)
