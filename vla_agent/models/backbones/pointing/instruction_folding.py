"""A `PointingVLM` for one instruction: batch norms, FiLM and known input channels are inside convolutions' weights.

    conv -> norm -> * (1 + scale(text)) + shift(text)        is one convolution, made once an instruction
    /255 -> - mean -> / std -> [pixels, place] -> conv       is one convolution of the bytes and a map that is added

The numbers differ from `PointingVLM.fuse` by rounding alone.  Used where nothing is trained and there is one prompt.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_agent.models.backbones.pointing.pointing_layers import FilmBlock
from vla_agent.models.backbones.pointing.pointing_vlm import Looked, PointingVLM


class Conv(NamedTuple):
    """Weights of a convolution with all that follows linearly."""

    weight: Tensor  # (out, in, k, k)
    bias: Tensor  # (out,)


class Folded(NamedTuple):
    """What `look` needs beside the pictures; see `PointingVLM` for the names."""

    patch: Tensor
    fine_in: Tensor
    fine_in_map: Tensor  # (1, c4 / 2, H/2, W/2) what mean and place contribute
    fine_out: Tensor
    first_map: Tensor  # (V, c4, H/4, W/4) the same for ``patch``, the view's own, and all biases
    blocks: tuple[Conv, ...]  # of the stem
    match_in: Conv
    fine_film: Conv
    down: Conv
    film: tuple[Conv, ...]
    lateral: Conv
    upscale: Tensor  # (1, c8, 1, 1) what the last norm makes of f8
    asked: Tensor  # (1, Q, shapes + colours)
    kernel: Tensor | None  # (1, V, size, size) of the move


def foldable(model: PointingVLM) -> bool:
    """Whether the weights say all: peft's wrapper around an adapted layer adds what its ``base_layer`` does not say."""
    return not any(hasattr(module, "base_layer") for module in model.modules())


def fold(model: PointingVLM, text_tokens: Tensor, text: Tensor, mask: Tensor, mean: Tensor, std: Tensor) -> Folded:
    """Weights for one prompt: text (1, L, C), summary (1, C), mask (1, L); mean and std (3,) of pixels in [0, 1]."""
    first, (fine, fine_norm, _, coarse, coarse_norm) = _affine(model.stem[0]), model.fine
    height, width = model.config.image_size
    rows, cols = torch.linspace(-1, 1, height).to(mean), torch.linspace(-1, 1, width).to(mean)
    known = torch.cat(  # what the input channels are where the picture's bytes are 0
        [(-mean / std)[:, None, None].expand(-1, height, width), torch.stack(torch.meshgrid(rows, cols, indexing="ij"))]
    )[None]
    fine_in = _scaled(fine.weight, None, *_affine(fine_norm))
    fine_out = _scaled(*_scaled(coarse.weight, None, *_affine(coarse_norm)), *first)
    patch = _scaled(model.patch.weight, model.patch.bias, first[0], torch.zeros_like(first[1]))
    first_map = F.conv2d(known, *patch, stride=4) + fine_out.bias[:, None, None]
    scale, shift = model.lateral_film(text)[0].chunk(2)
    merge = _affine(model.merge_norm)
    lateral = _scaled(model.lateral.weight, model.lateral.bias, 1 + scale, shift)
    pixels = 255 * std[:, None, None]
    return Folded(
        patch=_last(patch.weight[:, :3] / pixels),
        fine_in=_last(fine_in.weight[:, :3] / pixels),
        fine_in_map=_last(F.conv2d(known, *fine_in, stride=2, padding=1)),
        fine_out=_last(fine_out.weight),
        first_map=_last(first_map + model.view * first[0][:, None, None]),
        blocks=tuple(_fast(_scaled(b.conv.weight, None, *_affine(b.norm))) for b in list(model.stem)[2:]),
        match_in=_fast(Conv(model.match_in.weight, model.match_in.bias)),
        fine_film=_film(model.fine_film, text),
        down=_fast(_scaled(model.down[0].weight, None, *_affine(model.down[1]))),
        film=tuple(_film(block, text) for block in model.film),
        lateral=_fast(_scaled(lateral.weight, lateral.bias, *merge)),
        upscale=merge[0][None, :, None, None],
        asked=model.asked(text_tokens, mask),
        kernel=model.move.kernel(text) if model.config.move_kernel else None,
    )


def look(model: PointingVLM, folded: Folded, images: Tensor) -> Looked:
    """Pictures (1, V, H, W, 3) uint8 -> what `PointingVLM.look` makes of them."""
    pixels = images[0].float().movedim(-1, 1)  # (V, 3, H, W), channels last in memory
    x = F.relu(F.conv2d(pixels, folded.fine_in, stride=2, padding=1) + folded.fine_in_map)
    x = F.conv2d(x, folded.fine_out, stride=2, padding=1) + F.conv2d(pixels, folded.patch, stride=4)
    x = F.relu(x + folded.first_map)
    for block in folded.blocks:
        x = x + F.relu(F.conv2d(x, *block, padding=1))
    match = model.match(x[None], folded.asked)
    x = x + F.conv2d(match[0], *folded.match_in)
    x = x + F.relu(F.conv2d(x, *folded.fine_film, padding=1))
    f8 = F.relu(F.conv2d(x, *folded.down, stride=2, padding=1))
    for block in folded.film:
        f8 = f8 + F.relu(F.conv2d(f8, *block, padding=1))
    above = F.interpolate(f8 * folded.upscale, size=x.shape[2:], mode="nearest")
    return Looked(F.relu(F.conv2d(x, *folded.lateral) + above), f8, match, folded.asked, folded.kernel)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) that a batch norm applies when it does not train."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _scaled(weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor) -> Conv:
    """The convolution with ``* scale + shift`` behind it."""
    return Conv(weight * scale[:, None, None, None], shift if bias is None else bias * scale + shift)


def _film(block: FilmBlock, text: Tensor) -> Conv:
    scale, shift = block.film(text)[0].chunk(2)
    plain = _scaled(block.conv.weight, None, *_affine(block.norm))
    return _fast(_scaled(plain.weight, plain.bias, 1 + scale, shift))


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _fast(conv: Conv) -> Conv:
    return Conv(_last(conv.weight), conv.bias)
