"""Self-supervised features beside the language-aligned ones, projected together (Prismatic, OpenVLA)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 224  # what the second encoder sees


class FusedVision(nn.Module):
    """Adds to each image token what an MLP makes of it and of the second encoder's features at its place.

    The MLP's last layer begins at zero: untrained, a pretrained model sees what it is used to.

    Args:
        encoder: a patch encoder such as DINOv2, kept as it is (not trained).
        image_processor: its own; what it says about normalisation is used.
        feature_dim: C of the image tokens.
        aspect: height over width of the pictures.
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
        side = SIZE // self.encoder.config.patch_size
        x = F.interpolate(
            pixels, (side * self.encoder.config.patch_size,) * 2, mode="bilinear", antialias=True, align_corners=False
        )
        x = self.encoder(((x - self.mean) / self.std).to(self.encoder.dtype)).last_hidden_state[:, -side * side :]
        x = F.adaptive_avg_pool2d(x.transpose(1, 2).unflatten(2, (side, side)), (rows, columns)).flatten(2)
        seen = tokens[:, : rows * columns]
        both = torch.cat([seen, x.transpose(1, 2).to(seen)], dim=-1).to(self.project[1].weight)
        return torch.cat([seen + self.project(both).to(seen), tokens[:, rows * columns :]], dim=1)
