"""Layers of `pointing.pointing_vlm`: text-conditioned convolutions, the moved candidate, the text encoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig


class FilmBlock(nn.Module):
    """Residual 3x3 convolution whose channels a text vector scales and shifts (FiLM, Perez et al. 2018)."""

    def __init__(self, channels: int, text: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.film = nn.Linear(text, 2 * channels)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        scale, shift = self.film(text)[:, :, None, None].chunk(2, dim=1)
        return x + F.relu(self.norm(self.conv(x)) * (1 + scale) + shift)


class ConvBlock(nn.Module):
    """Residual 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(x)))


class Move(nn.Module):
    """One more candidate: that of an object which the prompt names, moved by an offset that the text gives.

    It has no other input, so that it cannot learn to ignore the object.  The kernel is a Gaussian whose centre the text
    gives: a free kernel settles on one cell before it has met all directions, and then stops learning.
    """

    NAMED = 2  # the first queries are for the objects that the prompt names

    def __init__(self, config: PointingVLMConfig) -> None:
        super().__init__()
        c, self.size = config.hidden_size, config.move_kernel
        self.centre = nn.Linear(c, config.num_views * 2)
        self.spread = nn.Parameter(torch.zeros(config.num_views))
        self.of_named = nn.Linear(c, self.NAMED)
        self.share = nn.Linear(c, config.num_roles)

    def forward(self, queried: Tensor, kernel: Tensor, context: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Maps of the queries (B, V, Q, h*w), log-probabilities; the text's `kernel`; context (B, C); size (h, w).

        Returns:
            the moved candidate (B, V, 1, h*w), log-probabilities, and its mixture logit for each role (B, R, 1).
        """
        b, v = queried.shape[:2]
        weights = self.of_named(context).float().log_softmax(-1)[:, None, :, None]  # (B, 1, NAMED, 1)
        prob = (queried[:, :, : self.NAMED] + weights).logsumexp(2).exp().view(1, b * v, *size)
        kernel = kernel.reshape(b * v, 1, self.size, self.size)
        moved = F.conv2d(prob, kernel, padding=self.size // 2, groups=b * v).view(b, v, 1, -1)
        moved = moved.clamp_min(1e-7)  # no cell is impossible; mass that is moved out of the image is spread over it
        return (moved / moved.sum(-1, keepdim=True)).log(), self.share(context).float()[..., None]

    def kernel(self, text: Tensor) -> Tensor:
        """Text (B, C) -> (B, V, size, size): a Gaussian around the text's offset in cells right and down."""
        reach = self.size // 2
        taps = torch.arange(reach, -reach - 1, -1, device=text.device)  # a correlation: the tap -1 moves by 1
        centre = self.centre(text).float().view(len(text), -1, 2).clamp(-reach, reach)
        variance = self.spread.exp().square()[:, None, None]
        along = -(taps - centre[..., None]).square() / (2 * variance)  # (B, V, 2, size)
        return (along[:, :, 1, :, None] + along[:, :, 0, None, :]).flatten(2).softmax(-1)


def downsampling(channels_in: int, channels_out: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A 3x3 convolution of stride 2 and its norm."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels_out)


def encoder_layer(config: PointingVLMConfig) -> nn.TransformerEncoderLayer:
    """Of text encoder and fusion: pre-norm, GELU."""
    return nn.TransformerEncoderLayer(**_transformer_options(config))


def decoder_layer(config: PointingVLMConfig) -> nn.TransformerDecoderLayer:
    """Of the answer decoder, as `encoder_layer`."""
    return nn.TransformerDecoderLayer(**_transformer_options(config))


def _transformer_options(config: PointingVLMConfig) -> dict[str, Any]:
    sizes = {"d_model": config.hidden_size, "nhead": config.num_attention_heads, "dropout": config.dropout}
    sizes["dim_feedforward"] = 4 * config.hidden_size
    return {**sizes, "activation": "gelu", "batch_first": True, "norm_first": True}


class TextEncoder(nn.Module):
    """Token embedding, bidirectional transformer, and a summary by learned attention pooling."""

    def __init__(self, config: PointingVLMConfig) -> None:
        super().__init__()
        c = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, c, padding_idx=config.pad_token_id)
        self.position = nn.Parameter(torch.randn(config.max_text_length, c) * 0.02)
        self.layers = nn.ModuleList(encoder_layer(config) for _ in range(config.text_layers))
        self.pool = nn.Linear(c, 4)
        self.out = nn.Linear(4 * c, c)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) ids and 1/0 mask -> tokens (B, L, C) and summary (B, C)."""
        x = self.embed(ids) + self.position[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask == 0)
        weights = self.pool(x).masked_fill((mask == 0)[..., None], -1e4).softmax(dim=1)  # (B, L, 4)
        return x, self.out(torch.einsum("blk,blc->bkc", weights, x).flatten(1))
