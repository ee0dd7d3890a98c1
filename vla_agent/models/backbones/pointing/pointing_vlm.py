"""PointingVLM: a vision-language model small enough for a laptop CPU that localises the objects that a prompt names.

    images (P, V, 3, H, W) --stem-------------> f4  (P, V, C4, H/4, W/4)              text-free
    prompt (B, L) -------text encoder---------> text (B, L, C)  and a summary (B, C)
    f4 --linear, log-softmax------------------> names (B, V, shapes + colours, H/4, W/4)
    names . names of each of Q queries -------> match (B, V, Q, H/4, W/4)             "a red mug could be here"
    f4 + match + summary --FiLM (Perez 2018)--> f8, candidate maps (B, V, R + Q, H/4, W/4)
    a query's candidate * text's kernel ------> moved candidate (B, V, 1, H/4, W/4)   "left of it", "on top of it"
    candidates ---mixture weights-------------> role maps (B, V, R, H/4, W/4)         "where is it, where to"
    f8 --spatial softmax (Levine 2016)--------> keypoints (B, V, K, 2)                learned with the actions alone
    role maps ----softmax---------------------> points (B, V, R, 2), seen (B, V, R)   u right, v down, in [0, 1]
    slots (one per view and role: the feature under the map, the point), pooled f8, summary
              --transformer-------------------> hidden (B, N, C)                      conditions the action head
    hidden (causal) answer decoder -----------> logits (B, S, vocabulary)             captions and answers
    slots -> height; first view's point, height -> located (B, R, 3)                   metres, base frame

The names are supervised at every object (dense supervision of the stem), so that a query is a sum of log-probabilities:
"red" and "mug", in any pair, also in pairs never trained on.  The mixture weights depend on where each candidate lies,
so that "A, then B" can mean B once A lies in the tray.  A place beside an object is the object's map convolved with a
kernel whose centre the text gives (after dynamic filter networks, De Brabandere et al. 2016).

B prompts, P images of V views (``image_index`` says which image a prompt is about; P = B without it), R roles (target,
goal), Q queries, C channels, L prompt tokens, S answer tokens, N = V*R + V*9 + 1 hidden tokens.

The role maps are the dense supervision without which a policy of this size does not learn to use the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import ModelOutput

from vla_agent.models.backbones.pointing.pointing_config import PointingVLMConfig
from vla_agent.models.backbones.pointing.pointing_layers import (
    ConvBlock,
    FilmBlock,
    Move,
    TextEncoder,
    decoder_layer,
    downsampling,
    encoder_layer,
)


class ImageFeatures(NamedTuple):
    """Convolutional features of images, conditioned on the text."""

    fine: Tensor  # (B * V, C8, H/4, W/4)
    coarse: Tensor  # (B * V, C8, H/8, W/8)
    match: Tensor  # (B, V, Q, H/4, W/4)
    query_logits: Tensor  # (B, Q, shapes + colours): which names a query is for
    kernel: Tensor | None  # (B, V, size, size) of the move; None where no candidate is moved
    stem: Tensor  # (B, V, C4, H/4, W/4) text-free


@dataclass
class PointMaps:
    """Where each role's object is in each view, and the tokens that the transformer reads."""

    tokens: Tensor  # (B, V*R + V*9, C)
    place: Tensor  # (B, V, R, 3): points in [-1, 1], probability that the point is inside the image
    maps: Tensor  # (B, V, R, H/4 * W/4) log-probabilities over cells
    seen: Tensor  # (B, V, R) logits: is the role's point inside the image
    points: Tensor  # (B, V, R, 2)
    query_logits: Tensor  # see `ImageFeatures`
    candidates: Tensor  # (B, V, R + Q [+ 1], H/4 * W/4) log-probabilities, the moved one last
    mix: Tensor  # (B, R, R + Q [+ 1]) logits of the mixture weights
    stem: Tensor | None = field(default=None, kw_only=True)  # see `ImageFeatures`
    keypoints: Tensor | None = field(default=None, kw_only=True)  # (B, V, K, 2): u, v; None where there are none


@dataclass
class Pointing(PointMaps):
    """All outputs of the model for images and prompts, but the answers."""

    hidden: Tensor  # (B, N, C)
    located: Tensor  # (B, R, 3) metres, base frame


@dataclass
class PointingOutput(ModelOutput):
    """`Pointing` with the answers' loss and logits, as transformers has it."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden: Tensor | None = None
    maps: Tensor | None = None
    seen: Tensor | None = None
    points: Tensor | None = None
    located: Tensor | None = None
    query_logits: Tensor | None = None
    candidates: Tensor | None = None
    mix: Tensor | None = None
    keypoints: Tensor | None = None


class PointingVLM(PreTrainedModel):
    """See the module's head.  Loads and saves through ``AutoModelForImageTextToText``."""

    config_class = PointingVLMConfig
    base_model_prefix = "pointing_vlm"
    main_input_name = "pixel_values"
    LEAST = 0.05  # of a role's map comes from all candidates alike, whatever the mixture weights are
    GRID = 3  # pooled f8 tokens per view: GRID x GRID

    def __init__(self, config: PointingVLMConfig) -> None:
        super().__init__(config)
        c, (c4, c8) = config.hidden_size, config.stem_channels
        views, roles, queries = config.num_views, config.num_roles, config.num_queries
        candidates = roles + queries
        self.text = TextEncoder(config)
        self.patch = nn.Conv2d(3 + 2, c4, 4, stride=4)
        self.fine = nn.Sequential(*downsampling(3 + 2, c4 // 2), nn.ReLU(), *downsampling(c4 // 2, c4))
        self.view = nn.Parameter(torch.zeros(views, c4, 1, 1))
        self.stem = nn.Sequential(nn.BatchNorm2d(c4), nn.ReLU(), ConvBlock(c4), ConvBlock(c4))
        self.name = nn.Linear(c4, sum(config.num_names))
        self.query_pool = nn.Linear(c, queries)
        self.query = nn.Linear(c, sum(config.num_names))
        self.match_in = nn.Conv2d(queries, c4, 1)
        self.fine_film = FilmBlock(c4, c)
        self.down = nn.Sequential(*downsampling(c4, c8), nn.ReLU())
        self.film = nn.ModuleList(FilmBlock(c8, c) for _ in range(config.film_blocks))
        self.lateral = nn.Conv2d(c4, c8, 1)
        self.lateral_film = nn.Linear(c, 2 * c8)
        self.merge_norm = nn.BatchNorm2d(c8)
        self.candidates = nn.Conv2d(c8, candidates, 1)  # scores: one for each role, then the queries'
        self.offsets = nn.Conv2d(c8, 2 * roles, 1)  # per role: du, dv
        self.match_gain = nn.Parameter(torch.full((queries,), 4.0))
        context = c + views * (c8 + 3 * candidates)
        self.mixer = nn.Sequential(nn.Linear(context, c), nn.GELU(), nn.Linear(c, roles * candidates))
        if config.move_kernel:
            self.move = Move(config)
        if config.keypoints:
            self.keypoints = nn.Conv2d(c8, config.keypoints, 1)
        self.role_seen = nn.Linear(c8, 1)
        self.slot = nn.Linear(c8 + 3, c)
        self.slot_kind = nn.Parameter(torch.randn(views * roles, c) * 0.02)
        self.grid = nn.Linear(c8, c)
        self.grid_kind = nn.Parameter(torch.randn(views * self.GRID**2, c) * 0.02)
        self.fusion = nn.ModuleList(encoder_layer(config) for _ in range(config.fusion_layers))
        self.fusion_norm = nn.LayerNorm(c)
        self.height = nn.Sequential(nn.Linear(views * roles * (c + 3), c), nn.GELU(), nn.Linear(c, roles))
        self.ground = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 2))
        self.decoder = nn.ModuleList(decoder_layer(config) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(c)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialisation, but FiLM starts as the identity and the tied word embedding small."""
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, FilmBlock):
            nn.init.zeros_(module.film.weight)
            nn.init.zeros_(module.film.bias)
        if isinstance(module, Move):
            for layer in (module.centre, module.share):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """(P, V, 3, H, W) normalised -> f4 (P, V, C4, H/4, W/4); text-free."""
        p, v, _, h, w = pixel_values.shape
        rows = torch.linspace(-1, 1, h, device=pixel_values.device, dtype=pixel_values.dtype)
        cols = torch.linspace(-1, 1, w, device=pixel_values.device, dtype=pixel_values.dtype)
        place = torch.stack(torch.meshgrid(rows, cols, indexing="ij")).expand(p * v, 2, h, w)
        x = torch.cat([pixel_values.flatten(0, 1), place], dim=1)
        x = self.patch(x) + self.fine(x) + self.view.repeat(p, 1, 1, 1)
        return self.stem(x).unflatten(0, (p, v))

    def fuse(self, f4: Tensor, text_tokens: Tensor, text: Tensor, mask: Tensor) -> Pointing:
        """f4 (B, V, C4, h, w) of each prompt's image, text (B, L, C), summary (B, C), mask (B, L) -> all but logits."""
        features = self.image_features(f4, text_tokens, text, mask)
        return self.reason(self.point(features, text), text_tokens, text, mask)

    def image_features(self, f4: Tensor, text_tokens: Tensor, text: Tensor, mask: Tensor) -> ImageFeatures:
        """The text-conditioned convolutions; with folded weights: `pointing.instruction_folding`."""
        _, v, _, h, w = f4.shape
        x = f4.flatten(0, 1)
        text_v = text.repeat_interleave(v, dim=0)  # (B*V, C)
        query_logits = self.query_logits(text_tokens, mask)
        match = self.match(f4, query_logits)
        kernel = self.move.kernel(text) if self.config.move_kernel else None
        x = self.fine_film(x + self.match_in(match.flatten(0, 1)), text_v)
        f8 = self.down(x)
        for block in self.film:
            f8 = block(f8, text_v)
        scale, shift = self.lateral_film(text_v)[:, :, None, None].chunk(2, dim=1)
        side = self.lateral(x) * (1 + scale) + shift
        fine = F.relu(self.merge_norm(side + F.interpolate(f8, size=(h, w), mode="nearest")))
        return ImageFeatures(fine, f8, match, query_logits, kernel, f4)

    def point(self, features: ImageFeatures, text: Tensor) -> PointMaps:
        """Role maps and points, and the slots and grid that the transformer reads."""
        fine, coarse, match, query_logits, _, stem = features
        b, v, _, h, w = match.shape
        rows = (torch.arange(h, device=fine.device, dtype=torch.float32) + 0.5) / h
        cols = (torch.arange(w, device=fine.device, dtype=torch.float32) + 0.5) / w
        centre = torch.stack([cols.repeat(h), rows.repeat_interleave(w)])  # (2, h*w): u, v
        candidates, mix = self._candidates(features, text, centre)
        # every candidate keeps some weight: one that is never used is never trained
        weights = ((1 - self.LEAST) * mix.softmax(-1) + self.LEAST / mix.shape[-1]).log()
        maps = (candidates[:, :, None] + weights[:, None, ..., None]).logsumexp(3)  # (B, V, R, h*w)
        prob = maps.exp()
        near = self._window(prob, h, w)
        cell = torch.tensor([1.0 / w, 1.0 / h], device=fine.device)
        offset = self.offsets(fine).view(b, v, 2, -1, h * w).float().transpose(2, 3)  # (B, V, R, 2, h*w)
        offset = offset.tanh() * 1.5 * cell[:, None]
        points = torch.einsum("bvrn,bvrkn->bvrk", near, centre + offset)
        under = torch.einsum("bvrn,bvcn->bvrc", prob.to(fine.dtype), fine.view(b, v, -1, h * w))
        seen = self.role_seen(under).squeeze(-1).float()  # (B, V, R)
        place = torch.cat([points * 2 - 1, seen.sigmoid()[..., None]], dim=-1)  # (B, V, R, 3)
        slots = self.slot(torch.cat([under, place.to(under.dtype)], dim=-1)).flatten(1, 2) + self.slot_kind
        pooled = F.adaptive_avg_pool2d(coarse, self.GRID).flatten(2).transpose(1, 2)  # (B*V, 9, C8)
        grid = self.grid(pooled).unflatten(0, (b, v)).flatten(1, 2) + self.grid_kind
        tokens = torch.cat([slots, grid], dim=1)
        keypoints = self._keypoints(fine, centre, v) if self.config.keypoints else None
        return PointMaps(
            tokens, place, maps, seen, points, query_logits, candidates, mix, stem=stem, keypoints=keypoints
        )

    def _keypoints(self, fine: Tensor, centre: Tensor, views: int) -> Tensor:
        """Where each channel is active, (B, V, K, 2): the mean place under a softmax over all cells.

        After Levine et al. 2016, "End-to-End Training of Deep Visuomotor Policies".
        """
        prob = self.keypoints(fine).flatten(2).float().softmax(-1)  # (B*V, K, h*w)
        return (prob @ centre.T).unflatten(0, (-1, views))

    def _candidates(self, features: ImageFeatures, text: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Candidate maps (B, V, R + Q [+ 1], h*w), and their mixture logits for each role (B, R, R + Q [+ 1]).

        The mixture depends on the text and on where the candidates lie.  ``centre`` (2, h*w): u, v of each cell.
        """
        fine, coarse, match, _, kernel, _ = features
        (b, v, _, h, w), roles, queries = match.shape, self.config.num_roles, self.config.num_queries
        own, queried = self.candidates(fine).view(b, v, roles + queries, h * w).float().split((roles, queries), dim=2)
        scores = torch.cat([own, queried + self.match_gain[:, None] * match.flatten(3)], dim=2)
        candidates = scores.log_softmax(-1)  # (B, V, R + Q, h*w)
        prob = candidates.detach().exp()
        where = torch.cat([torch.einsum("bvkn,cn->bvkc", prob, centre) * 2 - 1, prob.amax(-1, keepdim=True)], dim=-1)
        scene = coarse.mean((2, 3)).view(b, -1)
        context = self.mixer[:2](torch.cat([text, scene, where.flatten(1).to(text.dtype)], dim=1))  # (B, C)
        mix = self.mixer[2](context).float().view(b, roles, -1)  # (B, R, R + Q)
        if kernel is None:
            return candidates, mix
        moved, moved_mix = self.move(candidates[:, :, roles:], kernel, context, (h, w))
        return torch.cat([candidates, moved], dim=2), torch.cat([mix, moved_mix], dim=2)

    def reason(self, point_maps: PointMaps, text_tokens: Tensor, text: Tensor, mask: Tensor) -> Pointing:
        """The transformer over the vision's tokens and the text."""
        points, place = point_maps.points, point_maps.place  # (B, V, R, 2), (B, V, R, 3)
        b, v, roles, _ = points.shape
        hidden = torch.cat([point_maps.tokens, text[:, None], text_tokens], dim=1)
        n = point_maps.tokens.shape[1] + 1
        ignore = torch.cat([mask.new_zeros(b, n), 1 - mask], dim=1).bool()
        for layer in self.fusion:
            hidden = layer(hidden, src_key_padding_mask=ignore)
        hidden = self.fusion_norm(hidden[:, :n])
        height = self.height(torch.cat([hidden[:, : v * roles].flatten(1), place.flatten(1).to(hidden.dtype)], dim=1))
        located = torch.cat([self.on_plane(points[:, 0], height), height[..., None]], dim=-1)
        return Pointing(**vars(point_maps), hidden=hidden, located=located.float())

    def query_logits(self, text: Tensor, mask: Tensor) -> Tensor:
        """Which names each query is for, from the text's tokens (B, L, C): logits (B, Q, shapes + colours)."""
        weights = self.query_pool(text).masked_fill((mask == 0)[..., None], -1e4).softmax(dim=1)  # (B, L, Q)
        return self.query(torch.einsum("blq,blc->bqc", weights, text))

    def match(self, f4: Tensor, query_logits: Tensor) -> Tensor:
        """Log-likelihood of each query's names at each cell, (B, V, Q, h, w); a query for no name is 0 everywhere."""
        shapes, colours = F.linear(f4.movedim(2, -1), self.name.weight, self.name.bias).split(
            tuple(self.config.num_names), dim=-1
        )
        names = torch.cat([shapes.log_softmax(-1), colours.log_softmax(-1)], dim=-1).clamp_min(-8) / 4
        return torch.einsum("bqn,bvhwn->bvqhw", query_logits.sigmoid(), names)

    def on_plane(self, points: Tensor, height: Tensor) -> Tensor:
        """Points (..., 2) of the first view and heights (...) in metres -> horizontal positions (..., 2) in metres."""
        return self.ground(torch.cat([points * 2 - 1, height[..., None] * 5], dim=-1))

    @torch.inference_mode()
    def positions(self, points: np.ndarray, heights: np.ndarray) -> np.ndarray:
        """`on_plane` of arrays: points (N, 2) float32, heights (N,) -> (N, 2)."""
        parts = (torch.from_numpy(part).to(self.view.device) for part in (points, heights))
        return self.on_plane(*parts).cpu().numpy()

    def names(self, f4: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Shape and colour logits (P, V, O, shapes), (P, V, O, colours) of the objects at points (P, V, O, 2) of f4."""
        p, v = f4.shape[:2]
        sampling_grid = points.flatten(0, 1)[:, :, None] * 2 - 1
        features = F.grid_sample(f4.flatten(0, 1), sampling_grid, align_corners=False)  # (P*V, C4, O, 1)
        logits = self.name(features.squeeze(-1).transpose(1, 2)).unflatten(0, (p, v))
        shapes, colours = logits.split(tuple(self.config.num_names), dim=-1)
        return shapes, colours

    @staticmethod
    def _window(prob: Tensor, h: int, w: int) -> Tensor:
        """Keep the 5 x 5 cells around each map's peak: a soft-argmax that a distant second peak does not affect."""
        best = prob.argmax(-1, keepdim=True)  # (B, V, R, 1)
        index = torch.arange(h * w, device=prob.device)
        inside = ((index // w - best // w).abs() <= 2) & ((index % w - best % w).abs() <= 2)
        near = prob * inside
        return near / near.sum(-1, keepdim=True).clamp_min(1e-9)

    def decode(self, hidden: Tensor, answer_ids: Tensor) -> Tensor:
        """Teacher-forced answers: hidden (B, N, C), ids (B, S) beginning with bos -> logits (B, S, vocabulary)."""
        s = answer_ids.shape[1]
        x = self.text.embed(answer_ids) + self.text.position[:s]
        causal = torch.ones(s, s, dtype=torch.bool, device=x.device).triu(1)
        for layer in self.decoder:
            x = layer(x, hidden, tgt_mask=causal)
        return self.decoder_norm(x) @ self.text.embed.weight.T

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor,
        image_index: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> PointingOutput:
        """Prompts (B, L) on images (P, V, 3, H, W); ``labels`` (B, S): answer ids ending in eos, padded with -100."""
        f4 = self.encode_images(pixel_values)
        tokens, summary = self.text(input_ids, attention_mask)
        pointing = self.fuse(f4 if image_index is None else f4[image_index], tokens, summary, attention_mask)
        names = PointingOutput.__dataclass_fields__.keys() & vars(pointing).keys()
        out = PointingOutput(**{name: getattr(pointing, name) for name in names})
        if labels is not None:
            start = labels.new_full((len(labels), 1), self.config.bos_token_id)
            shifted = torch.cat([start, labels[:, :-1].clamp_min(0)], dim=1)
            out.logits = logits = self.decode(pointing.hidden, shifted)
            out.loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
        return out

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor, max_new_tokens: int = 24
    ) -> Tensor:
        """Greedy answers (B, S), padded after eos."""
        tokens, summary = self.text(input_ids, attention_mask)
        hidden = self.fuse(self.encode_images(pixel_values), tokens, summary, attention_mask).hidden
        ids = input_ids.new_full((len(input_ids), 1), self.config.bos_token_id)
        done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        for _ in range(max_new_tokens):
            best = self.decode(hidden, ids)[:, -1].argmax(-1).masked_fill(done, self.config.pad_token_id)
            ids = torch.cat([ids, best[:, None]], dim=1)
            done |= best == self.config.eos_token_id
            if done.all():
                break
        return ids[:, 1:]


AutoConfig.register(PointingVLMConfig.model_type, PointingVLMConfig, exist_ok=True)
AutoModelForImageTextToText.register(PointingVLMConfig, PointingVLM, exist_ok=True)
