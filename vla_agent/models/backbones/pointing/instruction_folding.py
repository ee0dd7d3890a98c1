"""A `PointingVLM` for one instruction: batch norms, FiLM and known input channels folded into convolutions' weights.

    conv -> norm -> * (1 + scale(text)) + shift(text)        is one convolution, made once an instruction
    /255 -> - mean -> / std -> [pixels, place] -> conv       is one convolution of the bytes and a map that is added

The outputs differ from `PointingVLM.fuse` by rounding only.  Used for inference with one prompt.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.backbones.pointing.pointing_layers import FilmBlock
from vla_agent.models.backbones.pointing.pointing_vlm import ImageFeatures, PointingVLM


class Conv(NamedTuple):
    """Weights of a convolution with the linear operations after it."""

    weight: Tensor  # (out, in, k, k)
    bias: Tensor  # (out,)


class FoldedVision(NamedTuple):
    """Weights of `folded_image_features`; see `PointingVLM` for the names."""

    patch: Tensor
    fine_in: Tensor
    fine_in_map: Tensor  # (1, c4 / 2, H/2, W/2) contribution of mean and position
    fine_out: Tensor
    first_map: Tensor  # (V, c4, H/4, W/4) the same for ``patch``, the view's embedding, and all biases
    blocks: tuple[Conv, ...]  # of the stem
    match_in: Conv
    fine_film: Conv
    down: Conv
    film: tuple[Conv, ...]
    lateral: Conv
    upscale: Tensor  # (1, c8, 1, 1) the last norm's scale of f8
    query_logits: Tensor  # (1, Q, shapes + colours)
    kernel: Tensor | None  # (1, V, size, size) of the move


def foldable(model: PointingVLM) -> bool:
    """Whether the weights can be folded: a layer with an adapter of peft adds a term that its ``base_layer`` lacks."""
    return not any(hasattr(module, "base_layer") for module in model.modules())


def fold(
    model: PointingVLM, text_tokens: Tensor, text: Tensor, mask: Tensor, mean: Tensor, std: Tensor
) -> FoldedVision:
    """Weights for one prompt: text (1, L, C), summary (1, C), mask (1, L); mean and std (3,) of pixels in [0, 1]."""
    first, (fine, fine_norm, _, coarse, coarse_norm) = _affine(model.stem[0]), model.fine
    height, width = model.config.image_size
    rows, cols = torch.linspace(-1, 1, height).to(mean), torch.linspace(-1, 1, width).to(mean)
    black = (-mean / std)[:, None, None].expand(-1, height, width)
    known = torch.cat([black, torch.stack(torch.meshgrid(rows, cols, indexing="ij"))])[None]  # input of a black image
    fine_in = _scaled(fine.weight, None, *_affine(fine_norm))
    fine_out = _scaled(*_scaled(coarse.weight, None, *_affine(coarse_norm)), *first)
    patch = _scaled(model.patch.weight, model.patch.bias, first[0], torch.zeros_like(first[1]))
    first_map = F.conv2d(known, *patch, stride=4) + fine_out.bias[:, None, None]
    scale, shift = model.lateral_film(text)[0].chunk(2)
    merge = _affine(model.merge_norm)
    lateral = _scaled(model.lateral.weight, model.lateral.bias, 1 + scale, shift)
    pixels = 255 * std[:, None, None]
    return FoldedVision(
        patch=_channels_last(patch.weight[:, :3] / pixels),
        fine_in=_channels_last(fine_in.weight[:, :3] / pixels),
        fine_in_map=_channels_last(F.conv2d(known, *fine_in, stride=2, padding=1)),
        fine_out=_channels_last(fine_out.weight),
        first_map=_channels_last(first_map + model.view * first[0][:, None, None]),
        blocks=tuple(_channels_last_conv(_scaled(b.conv.weight, None, *_affine(b.norm))) for b in list(model.stem)[2:]),
        match_in=_channels_last_conv(Conv(model.match_in.weight, model.match_in.bias)),
        fine_film=_film(model.fine_film, text),
        down=_channels_last_conv(_scaled(model.down[0].weight, None, *_affine(model.down[1]))),
        film=tuple(_film(block, text) for block in model.film),
        lateral=_channels_last_conv(_scaled(lateral.weight, lateral.bias, *merge)),
        upscale=merge[0][None, :, None, None],
        query_logits=model.query_logits(text_tokens, mask),
        kernel=model.move.kernel(text) if model.config.move_kernel else None,
    )


def folded_image_features(model: PointingVLM, folded: FoldedVision, images: Tensor) -> ImageFeatures:
    """`PointingVLM.image_features` of images (1, V, H, W, 3) uint8."""
    pixels = images[0].float().movedim(-1, 1)  # (V, 3, H, W), channels last in memory
    x = F.relu(F.conv2d(pixels, folded.fine_in, stride=2, padding=1) + folded.fine_in_map)
    x = F.conv2d(x, folded.fine_out, stride=2, padding=1) + F.conv2d(pixels, folded.patch, stride=4)
    x = F.relu(x + folded.first_map)
    for block in folded.blocks:
        x = x + F.relu(F.conv2d(x, *block, padding=1))
    stem = x[None]
    match = model.match(stem, folded.query_logits)
    x = x + F.conv2d(match[0], *folded.match_in)
    x = x + F.relu(F.conv2d(x, *folded.fine_film, padding=1))
    f8 = F.relu(F.conv2d(x, *folded.down, stride=2, padding=1))
    for block in folded.film:
        f8 = f8 + F.relu(F.conv2d(f8, *block, padding=1))
    coarse = F.interpolate(f8 * folded.upscale, size=x.shape[2:], mode="nearest")
    fine = F.relu(F.conv2d(x, *folded.lateral) + coarse)
    return ImageFeatures(fine, f8, match, folded.query_logits, folded.kernel, stem)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) of a batch norm in evaluation mode."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _scaled(weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor) -> Conv:
    """The convolution followed by ``* scale + shift``."""
    return Conv(weight * scale[:, None, None, None], shift if bias is None else bias * scale + shift)


def _film(block: FilmBlock, text: Tensor) -> Conv:
    scale, shift = block.film(text)[0].chunk(2)
    unconditioned = _scaled(block.conv.weight, None, *_affine(block.norm))
    return _channels_last_conv(_scaled(unconditioned.weight, unconditioned.bias, 1 + scale, shift))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _channels_last_conv(conv: Conv) -> Conv:
    return Conv(_channels_last(conv.weight), conv.bias)
