"""PointingVLM: a vision-language model small enough for a laptop CPU that says *where* the named thing is.

    images (P, V, 3, H, W) --stem-------------> f4  (P, V, C4, H/4, W/4)              text-free
    prompt (B, L) -------text encoder---------> text (B, L, C)  and a summary (B, C)
    f4 --linear, log-softmax------------------> names (B, V, shapes + colours, H/4, W/4)
    names . what each of Q queries asks for --> match (B, V, Q, H/4, W/4)             "a red mug could be here"
    f4 + match + summary --FiLM (Perez 2018)--> f8, candidate maps (B, V, R + Q, H/4, W/4)
    one asked candidate * text's kernel ------> moved candidate (B, V, 1, H/4, W/4)   "left of it", "on top of it"
    candidates ---mixed by the chooser--------> role maps (B, V, R, H/4, W/4)         "where is it, where to"
    role maps ----softmax---------------------> points (B, V, R, 2), seen (B, V, R)   u right, v down, in [0, 1]
    slots (one per view and role: the feature under the map, the point), pooled f8, summary
              --transformer-------------------> hidden (B, N, C)                      conditions the action head
    hidden (causal) answer decoder -----------> logits (B, S, vocabulary)             captions and answers
    slots -> height; first view's point, height -> located (B, R, 3)                   metres, base frame

The names are supervised at every object (dense supervision of the stem), so that a query is a sum of log-probabilities:
"red" and "mug", in any pair, also in pairs never trained on.  The chooser sees where each candidate lies, so that "A,
then B" can mean B once A lies in the tray.  A place beside a thing is the thing's map convolved with a kernel
whose centre the text gives (after dynamic filter networks, De Brabandere et al. 2016).

B prompts, P pictures (``picture`` says which picture a prompt is about; P = B without it), V views, R roles (target,
goal), Q queries, C channels, L prompt tokens, S answer tokens, N = V*R + V*9 + 1 hidden tokens.

The pointing map is the dense supervision without which a policy of this size does not learn to use the instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

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
    transformer_layer,
)


@dataclass
class Pointing:
    """What the model makes of pictures and prompts."""

    hidden: Tensor  # (B, N, C)
    maps: Tensor  # (B, V, R, H/4 * W/4) log-probabilities over cells
    seen: Tensor  # (B, V, R) logits: is the role's point inside the picture
    points: Tensor  # (B, V, R, 2)
    located: Tensor  # (B, R, 3)
    asked: Tensor  # (B, Q, shapes + colours) logits: which names a query asks for
    candidates: Tensor  # (B, V, R + Q [+ 1], H/4 * W/4) log-probabilities, the moved one last
    mix: Tensor  # (B, R, R + Q [+ 1]) logits of the candidates' shares


class Looked(NamedTuple):
    """What the convolutions make of pictures and text."""

    f: Tensor  # (B * V, C8, H/4, W/4)
    f8: Tensor  # (B * V, C8, H/8, W/8)
    match: Tensor  # (B, V, Q, H/4, W/4)
    asked: Tensor  # (B, Q, shapes + colours)
    kernel: Tensor | None  # (B, V, size, size) of the move; None where nothing is moved


class Pointed(NamedTuple):
    """What was found in the pictures; for the fields see `Pointing`."""

    tokens: Tensor  # (B, V * R + V * 9, C) slots and grid
    maps: Tensor
    seen: Tensor
    points: Tensor
    place: Tensor  # (B, V, R, 3) points in [-1, 1] and whether seen, in [0, 1]
    asked: Tensor
    candidates: Tensor
    mix: Tensor


@dataclass
class PointingOutput(ModelOutput):
    """What `PointingVLM.forward` returns."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, S, vocabulary)
    hidden: Tensor | None = None
    maps: Tensor | None = None
    seen: Tensor | None = None
    points: Tensor | None = None
    located: Tensor | None = None
    asked: Tensor | None = None
    candidates: Tensor | None = None
    mix: Tensor | None = None


class PointingVLM(PreTrainedModel):
    """See the module's head.  Loads and saves through ``AutoModelForImageTextToText``."""

    config_class = PointingVLMConfig
    base_model_prefix = "pointing_vlm"
    main_input_name = "pixel_values"
    LEAST = 0.05  # of a role's map is shared out among all candidates, whatever the chooser says
    GRID = 3  # pooled f8 tokens per view: GRID x GRID

    def __init__(self, config: PointingVLMConfig) -> None:
        super().__init__(config)
        c, (c4, c8) = config.hidden_size, config.stem_channels
        views, roles, queries = config.num_views, config.num_roles, config.num_queries
        candidates = roles + queries
        self.text = TextEncoder(config)
        self.patch = nn.Conv2d(3 + 2, c4, 4, stride=4)
        self.fine = nn.Sequential(
            nn.Conv2d(3 + 2, c4 // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c4 // 2),
            nn.ReLU(),
            nn.Conv2d(c4 // 2, c4, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(c4),
        )
        self.view = nn.Parameter(torch.zeros(views, c4, 1, 1))
        self.stem = nn.Sequential(nn.BatchNorm2d(c4), nn.ReLU(), ConvBlock(c4), ConvBlock(c4))
        self.name = nn.Linear(c4, sum(config.num_names))
        self.query_pool = nn.Linear(c, queries)
        self.query = nn.Linear(c, sum(config.num_names))
        self.match_in = nn.Conv2d(queries, c4, 1)
        self.fine_film = FilmBlock(c4, c)
        self.down = nn.Sequential(nn.Conv2d(c4, c8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(c8), nn.ReLU())
        self.film = nn.ModuleList(FilmBlock(c8, c) for _ in range(config.film_blocks))
        self.lateral = nn.Conv2d(c4, c8, 1)
        self.lateral_film = nn.Linear(c, 2 * c8)
        self.merge_norm = nn.BatchNorm2d(c8)
        self.candidates = nn.Conv2d(c8, candidates, 1)  # scores: one of its own for each role, then the queries'
        self.offsets = nn.Conv2d(c8, 2 * roles, 1)  # per role: du, dv
        self.match_gain = nn.Parameter(torch.full((queries,), 4.0))
        self.mixer = nn.Sequential(
            nn.Linear(c + views * (c8 + 3 * candidates), c), nn.GELU(), nn.Linear(c, roles * candidates)
        )
        if config.move_kernel:
            self.move = Move(config)
        self.role_seen = nn.Linear(c8, 1)
        self.slot = nn.Linear(c8 + 3, c)
        self.slot_kind = nn.Parameter(torch.randn(views * roles, c) * 0.02)
        self.grid = nn.Linear(c8, c)
        self.grid_kind = nn.Parameter(torch.randn(views * self.GRID**2, c) * 0.02)
        self.fusion = nn.ModuleList(transformer_layer(config) for _ in range(config.fusion_layers))
        self.fusion_norm = nn.LayerNorm(c)
        self.height = nn.Sequential(nn.Linear(views * roles * (c + 3), c), nn.GELU(), nn.Linear(c, roles))
        self.ground = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 2))
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(
                c,
                config.num_attention_heads,
                4 * c,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(c)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initialisation is used, but FiLM starts as the identity and the tied word embedding small."""
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
        x = self.patch(x) + self.fine(x)
        x = x.unflatten(0, (p, v)) + self.view
        return self.stem(x.flatten(0, 1)).unflatten(0, (p, v))

    def fuse(self, f4: Tensor, text_tokens: Tensor, text: Tensor, mask: Tensor) -> Pointing:
        """f4 (B, V, C4, h, w) of each prompt's picture, text (B, L, C), summary (B, C) -> all but logits."""
        return self.reason(self.point(self.look(f4, text_tokens, text, mask), text), text_tokens, text, mask)

    def look(self, f4: Tensor, text_tokens: Tensor, text: Tensor, mask: Tensor) -> Looked:
        """The convolutions that see the text.  `pointing.instruction_folding` does the same with folded weights."""
        _, v, _, h, w = f4.shape
        x = f4.flatten(0, 1)
        text_v = text.repeat_interleave(v, dim=0)  # (B*V, C)
        asked = self.asked(text_tokens, mask)
        match = self.match(f4, asked)
        kernel = self.move.kernel(text) if self.config.move_kernel else None
        x = self.fine_film(x + self.match_in(match.flatten(0, 1)), text_v)
        f8 = self.down(x)
        for block in self.film:
            f8 = block(f8, text_v)
        scale, shift = self.lateral_film(text_v)[:, :, None, None].chunk(2, dim=1)
        side = self.lateral(x) * (1 + scale) + shift
        f = F.relu(self.merge_norm(side + F.interpolate(f8, size=(h, w), mode="nearest")))
        return Looked(f, f8, match, asked, kernel)

    def point(self, looked: Looked, text: Tensor) -> Pointed:
        """Maps, points, and the slots and grid that the transformer reads."""
        (b, v, _, h, w), (f, f8, match) = looked.match.shape, (looked.f, looked.f8, looked.match)
        roles, queries = self.config.num_roles, self.config.num_queries
        own, asked = self.candidates(f).view(b, v, roles + queries, h * w).float().split((roles, queries), dim=2)
        scores = torch.cat([own, asked + self.match_gain[:, None] * match.flatten(3)], dim=2)
        candidates = scores.log_softmax(-1)  # (B, V, R + Q, h*w)
        rows = (torch.arange(h, device=f.device) + 0.5) / h
        cols = (torch.arange(w, device=f.device) + 0.5) / w
        centre = torch.stack([cols.repeat(h), rows.repeat_interleave(w)])  # (2, h*w): u, v
        hint = self._where(candidates, centre, text, f8.mean((2, 3)).view(b, -1))  # (B, C)
        mix = self.mixer[2](hint).float().view(b, roles, -1)  # (B, R, R + Q)
        if looked.kernel is not None:
            moved, share = self.move(candidates[:, :, roles:], looked.kernel, hint, (h, w))
            candidates, mix = torch.cat([candidates, moved], dim=2), torch.cat([mix, share], dim=2)
        # no share is ever nothing: a candidate that is not tried is not learned
        shares = ((1 - self.LEAST) * mix.softmax(-1) + self.LEAST / mix.shape[-1]).log()
        maps = (candidates[:, :, None] + shares[:, None, ..., None]).logsumexp(3)  # (B, V, R, h*w)
        prob = maps.exp()
        near = self._window(prob, h, w)
        cell = torch.tensor([1.0 / w, 1.0 / h], device=f.device)
        offset = (
            self.offsets(f).view(b, v, 2, roles, h * w).float().transpose(2, 3).tanh() * 1.5 * cell[:, None]
        )  # (B, V, R, 2, h*w)
        points = torch.einsum("bvrn,bvrkn->bvrk", near, centre + offset)
        under = torch.einsum("bvrn,bvcn->bvrc", prob.to(f.dtype), f.view(b, v, -1, h * w))
        seen = self.role_seen(under).squeeze(-1).float()  # (B, V, R)
        place = torch.cat([points * 2 - 1, seen.sigmoid()[..., None]], dim=-1)  # (B, V, R, 3)
        slots = self.slot(torch.cat([under, place.to(under.dtype)], dim=-1)).flatten(1, 2) + self.slot_kind
        pooled = F.adaptive_avg_pool2d(f8, self.GRID).flatten(2).transpose(1, 2)  # (B*V, 9, C8)
        grid = self.grid(pooled).unflatten(0, (b, v)).flatten(1, 2) + self.grid_kind
        return Pointed(torch.cat([slots, grid], dim=1), maps, seen, points, place, looked.asked, candidates, mix)

    def reason(self, pointed: Pointed, text_tokens: Tensor, text: Tensor, mask: Tensor) -> Pointing:
        """The transformer over what was seen and the text."""
        points, place = pointed.points, pointed.place  # (B, V, R, 2), (B, V, R, 3)
        b, v, roles, _ = points.shape
        hidden = torch.cat([pointed.tokens, text[:, None], text_tokens], dim=1)
        n = pointed.tokens.shape[1] + 1
        ignore = torch.cat([mask.new_zeros(b, n), 1 - mask], dim=1).bool()
        for layer in self.fusion:
            hidden = layer(hidden, src_key_padding_mask=ignore)
        hidden = self.fusion_norm(hidden[:, :n])
        height = self.height(torch.cat([hidden[:, : v * roles].flatten(1), place.flatten(1).to(hidden.dtype)], dim=1))
        located = torch.cat([self.on_plane(points[:, 0], height), height[..., None]], dim=-1)
        return Pointing(
            hidden=hidden,
            maps=pointed.maps,
            seen=pointed.seen,
            points=points,
            located=located.float(),
            asked=pointed.asked,
            candidates=pointed.candidates,
            mix=pointed.mix,
        )

    def asked(self, text: Tensor, mask: Tensor) -> Tensor:
        """What each query asks for, by the text's tokens (B, L, C): logits (B, Q, shapes + colours)."""
        weights = self.query_pool(text).masked_fill((mask == 0)[..., None], -1e4).softmax(dim=1)  # (B, L, Q)
        return self.query(torch.einsum("blq,blc->bqc", weights, text))

    def match(self, f4: Tensor, asked: Tensor) -> Tensor:
        """How well each cell's names fit each query, (B, V, Q, h, w), 0 for wholly.

        A query that asks for nothing fits everywhere.
        """
        shapes, colours = F.linear(f4.movedim(2, -1), self.name.weight, self.name.bias).split(
            tuple(self.config.num_names), dim=-1
        )
        names = torch.cat([shapes.log_softmax(-1), colours.log_softmax(-1)], dim=-1).clamp_min(-8) / 4
        return torch.einsum("bqn,bvhwn->bvqhw", asked.sigmoid(), names)

    def _where(self, candidates: Tensor, centre: Tensor, text: Tensor, scene: Tensor) -> Tensor:
        """What the chooser makes of the text and of where the candidates lie, (B, C)."""
        prob = candidates.detach().exp()  # (B, V, R + Q, h*w)
        where = torch.cat([torch.einsum("bvkn,cn->bvkc", prob, centre) * 2 - 1, prob.amax(-1, keepdim=True)], dim=-1)
        return self.mixer[:2](torch.cat([text, scene, where.flatten(1).to(text.dtype)], dim=1))

    def on_plane(self, points: Tensor, height: Tensor) -> Tensor:
        """Points (..., 2) of the first view and heights (...) in metres -> horizontal positions (..., 2) in metres."""
        return self.ground(torch.cat([points * 2 - 1, height[..., None] * 5], dim=-1))

    def names(self, f4: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Shape and colour logits (P, V, O, shapes), (P, V, O, colours) of what lies at points (P, V, O, 2) of f4."""
        p, v = f4.shape[:2]
        at = F.grid_sample(
            f4.flatten(0, 1), points.flatten(0, 1)[:, :, None] * 2 - 1, align_corners=False
        )  # (PV, C4, O, 1)
        logits = self.name(at.squeeze(-1).transpose(1, 2)).unflatten(0, (p, v))
        shapes, colours = logits.split(tuple(self.config.num_names), dim=-1)
        return shapes, colours

    @staticmethod
    def _window(prob: Tensor, h: int, w: int) -> Tensor:
        """Keep the 5 x 5 cells around each map's peak: a soft-argmax that a second peak far off cannot pull."""
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
        picture: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> PointingOutput:
        """Prompts (B, L) on pictures (P, V, 3, H, W); ``labels`` (B, S): answer ids ending in eos, padded with -100."""
        f4 = self.encode_images(pixel_values)
        tokens, summary = self.text(input_ids, attention_mask)
        pointing = self.fuse(f4 if picture is None else f4[picture], tokens, summary, attention_mask)
        out = PointingOutput(**vars(pointing))
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
