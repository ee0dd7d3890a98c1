"""The backbone learns to name what it sees (stage 0), then to answer, to point and to locate (stage 1).

In stage 1 a part of each batch are generated pictures with questions and instructions, the rest demonstration frames
with their instruction, so that the pointing map also follows an object into the gripper and a two-step task to its
second step.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.pointing_vlm import Pointing, PointingVLM
from vla_agent.training.demonstrations import Demonstrations, Questions
from vla_agent.training.recipe import NameStem, Pretrain

GOAL = 1  # of the roles: where it goes


class PretrainBatches:
    """Draws batches and gives the stage's losses."""

    def __init__(
        self, backbone: Backbone, questions: Questions | None, demonstrations: Demonstrations, settings: Pretrain
    ) -> None:
        self.backbone, self.questions, self.demos, self.settings = backbone, questions, demonstrations, settings
        self.demo_ids, self.demo_mask = backbone.tokenize(demonstrations.instructions)
        self.early = np.flatnonzero(demonstrations.frame < 10)
        if questions is not None:
            self.images, self.names, self.name_points = questions.images, questions.named, questions.named_points
            self.pictures, begin, count = np.unique(
                np.stack([questions.shard, questions.row], 1), axis=0, return_index=True, return_counts=True
            )
            self.items = [np.arange(b, b + c) for b, c in zip(begin, count, strict=True)]
            self.points_at = ~np.isnan(questions.located[:, 0, 0])
            self.ids, self.mask = backbone.tokenize(questions.prompts)
            self.answers = self._answers(questions.answers)

    def _answers(self, answers: list[str]) -> Tensor:
        eos = self.backbone.tokenizer.eos_token
        batch = self.backbone.tokenizer(
            [a + eos for a in answers], padding=True, truncation=True, max_length=24, return_tensors="pt"
        )
        return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)

    def _questions_about(self, picture: int, rng: np.random.Generator) -> np.ndarray:
        """Some of a picture's items, mostly such that point at something."""
        items = rng.permutation(self.items[picture])
        wanted = rng.random(len(items)) < self.settings.pointing_share
        return items[np.argsort(wanted & ~self.points_at[items], kind="stable")][: self.settings.questions_each]

    def _shown(self, pictures: np.ndarray) -> np.ndarray:
        """(P, V, H, W, 3) uint8 of generated pictures."""
        return np.stack([self.images[s][r] for s, r in self.pictures[pictures]])

    def _named(self, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
        """What every object of the pictures is, (P, O, 2), and where it is seen, (P, V, O, 3)."""
        where = self.pictures[pictures]
        named = torch.from_numpy(np.stack([self.names[s][r] for s, r in where])).long()
        return named, torch.from_numpy(np.stack([self.name_points[s][r] for s, r in where]))

    def naming_losses(self, stage: NameStem, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's loss of stage 0."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        shown = rng.choice(len(self.pictures), min(stage.batch, len(self.pictures)), replace=False)
        pixels = _jitter(self.backbone.pixels(torch.from_numpy(self._shown(shown))), stage.colour_jitter, generator)
        named, points = self._named(shown)
        return {"name": naming_loss(self.backbone.model, self.backbone.model.encode_images(pixels), named, points)}

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's losses of stage 1: answer, asked, map, move, point, seen, locate, name."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        size = self.settings.batch
        share = self.settings.demonstration_share if self.questions is not None else 1.0
        from_demos = round(size * share)
        images, ids, mask, points, located, labels = [], [], [], [], [], None
        picture = list(range(from_demos))
        if from_demos:
            early = round(from_demos * self.settings.early_share)
            frames = np.concatenate(
                [rng.choice(self.early, early), rng.integers(len(self.demos), size=from_demos - early)]
            )
            frames.sort()
            images.append(self.demos.pictures(frames))
            task = torch.from_numpy(self.demos.task[frames])
            ids.append(self.demo_ids[task])
            mask.append(self.demo_mask[task])
            points.append(self.demos.points[frames])
            located.append(self.demos.located[frames])
        if from_demos < size and self.questions is not None:
            q = self.questions
            asked = -(-(size - from_demos) // self.settings.questions_each)
            shown = rng.choice(len(self.pictures), min(asked, len(self.pictures)), replace=False)
            drawn = [self._questions_about(k, rng) for k in shown]
            picture += [from_demos + n for n, items in enumerate(drawn) for _ in items]
            index = np.concatenate(drawn)
            images.append(self._shown(shown))
            ids.append(self.ids[index])
            mask.append(self.mask[index])
            points.append(q.points[index])
            located.append(q.located[index])
            labels = self.answers[index]
            named, named_points = self._named(shown)
        longest = max(int(m.sum(1).max()) for m in mask)
        pad = self.backbone.tokenizer.pad_token_id
        ids = [F.pad(i, (0, max(0, longest - i.shape[1])), value=pad)[:, :longest] for i in ids]
        mask = [F.pad(m, (0, max(0, longest - m.shape[1])))[:, :longest] for m in mask]
        pixels = self.backbone.pixels(torch.from_numpy(np.concatenate(images)))
        pixels = _jitter(pixels, self.settings.colour_jitter, generator)
        model = self.backbone.model
        tokens, summary = model.text(torch.cat(ids), torch.cat(mask))
        f4 = model.encode_images(pixels)
        out = model.fuse(f4[torch.tensor(picture)], tokens, summary, torch.cat(mask))
        losses = pointing_losses(
            out,
            torch.from_numpy(np.concatenate(points)),
            torch.from_numpy(np.concatenate(located)),
            model.config.image_size,
        )
        true = torch.from_numpy(np.concatenate(located))
        if labels is not None:
            losses["asked"] = asked_loss(model, out.asked[from_demos:], torch.from_numpy(q.asked[index]).long())
        if model.config.move_kernel:
            losses["move"] = move_loss(out, torch.from_numpy(np.concatenate(points)), model.config.image_size)
        losses["locate"] = losses["locate"] + plane_loss(model, torch.from_numpy(np.concatenate(points)), true)
        if labels is not None:
            losses["name"] = naming_loss(model, f4[from_demos:], named, named_points)
            longest = int((labels != -100).sum(1).max())
            labels = labels[:, :longest]
            start = torch.full((len(labels), 1), model.config.bos_token_id)
            logits = model.decode(out.hidden[from_demos:], torch.cat([start, labels[:, :-1].clamp_min(0)], dim=1))
            losses["answer"] = 0.5 * F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return losses


def pointing_losses(out: Pointing, points: Tensor, located: Tensor, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """Losses of the pointing maps.

    Args:
        points: (B, V, R, 3) u, v, inside; NaN where there is nothing to point at.
        located: (B, R, 3) metres; NaN where unknown.
    """
    known = ~points[..., 2].isnan()
    inside = known & (points[..., 2] > 0.5)
    nll = -out.maps.gather(-1, _cells(points, image_size)[..., None]).squeeze(-1)
    count = inside.sum().clamp_min(1)
    miss = F.smooth_l1_loss(out.points, points[..., :2].nan_to_num(), beta=0.02, reduction="none").sum(-1)
    seen = F.binary_cross_entropy_with_logits(out.seen, points[..., 2].nan_to_num(), reduction="none")
    placed = ~located[..., 0].isnan()
    off = F.smooth_l1_loss(out.located, located.nan_to_num(), beta=0.02, reduction="none").sum(-1)
    return {
        "map": 0.3 * (nll * inside).sum() / count,
        "point": 5.0 * (miss * inside).sum() / count,
        "seen": 0.2 * (seen * known).sum() / known.sum().clamp_min(1),
        "locate": 10.0 * (off * placed).sum() / placed.sum().clamp_min(1),
    }


def move_loss(out: Pointing, points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """The moved candidate points at the goals that the goal's map misses, and the chooser stays able to learn.

    Args:
        points: (B, V, R, 3) u, v, inside; NaN where there is nothing to point at.
    """
    cells = _cells(points, image_size)[:, :, GOAL, None]  # (B, V, 1)
    inside = points[:, :, GOAL, 2] > 0.5
    found = out.maps[:, :, GOAL].detach().gather(-1, cells).squeeze(-1)
    moved = out.candidates[:, :, -1].gather(-1, cells).squeeze(-1)
    nll = -torch.logaddexp(found, moved) + math.log(2)
    return 0.5 * (nll * inside).sum() / inside.sum().clamp_min(1) + 0.003 * out.mix.square().mean()


def _cells(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Points (..., 3) -> (...) index of the map's cell."""
    h, w = image_size[0] // 4, image_size[1] // 4
    u = (points[..., 0].nan_to_num() * w).long().clamp(0, w - 1)
    v = (points[..., 1].nan_to_num() * h).long().clamp(0, h - 1)
    return v * w + u


def plane_loss(model: PointingVLM, points: Tensor, located: Tensor) -> Tensor:
    """The map from the first view's picture to the table, taught with true points and heights; shapes as above."""
    known = (points[:, 0, :, 2] > 0.5) & ~located[..., 0].isnan()
    ground = model.on_plane(points[:, 0, :, :2].nan_to_num(), located[..., 2].nan_to_num())
    off = F.smooth_l1_loss(ground, located[..., :2].nan_to_num(), beta=0.005, reduction="none").sum(-1)
    return 10.0 * (off * known).sum() / known.sum().clamp_min(1)


def asked_loss(model: PointingVLM, logits: Tensor, asked: Tensor) -> Tensor:
    """The first queries ask for the things that the prompt names.

    Args:
        logits: (B, Q, shapes + colours).  asked: (B, 2, 2) shape and colour, -1 for what the prompt does not say.
    """
    number, shapes = logits.shape[-1], model.config.num_names[0]
    wanted = logits.new_zeros(*asked.shape[:2], number + 1)
    first = torch.tensor([0, shapes])
    index = torch.where(asked >= 0, asked + first, number)  # the last column takes what is not said
    wanted = wanted.scatter(-1, index, 1.0)[..., :number]
    found = logits[:, : asked.shape[1]].float()
    return 0.3 * F.binary_cross_entropy_with_logits(found, wanted, reduction="none").sum(-1).mean()


def naming_loss(model: PointingVLM, f4: Tensor, named: Tensor, points: Tensor) -> Tensor:
    """What lies at every object's centre: shape and colour, from the text-free features.

    Args:
        f4: (P, V, C4, h, w).  named: (P, O, 2) shape and colour, -1 for none.  points: (P, V, O, 3) u, v, inside.
    """
    inside = (points[..., 2] > 0.5) & (named[:, None, :, 0] >= 0)  # (P, V, O)
    logits = model.names(f4, points[..., :2].nan_to_num())
    total = points.new_zeros(())
    for k, part in enumerate(logits):
        target = named[:, None, :, k].expand(inside.shape)[inside]
        total = total + F.cross_entropy(part[inside], target)
    return 0.5 * total


def _jitter(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Brightness and contrast a picture, the same in all views; pixels (P, V, 3, H, W) normalised."""
    if amount <= 0:
        return pixels
    shape = (len(pixels), 1, 3, 1, 1)
    gain = 1 + amount * (2 * torch.rand(shape, generator=generator) - 1)
    shift = amount * (2 * torch.rand(shape, generator=generator) - 1)
    return pixels * gain + shift


@torch.inference_mode()
def location_errors(backbone: Backbone, demos: Demonstrations, frames: np.ndarray, batch: int = 64) -> np.ndarray:
    """Horizontal distance in metres between located and true role positions, (n, R), on demonstration frames."""
    backbone.eval()
    ids, mask = backbone.tokenize(demos.instructions)
    errors = []
    for start in range(0, len(frames), batch):
        part = frames[start : start + batch]
        task = torch.from_numpy(demos.task[part])
        tokens, summary = backbone.model.text(ids[task], mask[task])
        pixels = backbone.pixels(torch.from_numpy(demos.pictures(part)))
        out = backbone.model.fuse(backbone.model.encode_images(pixels), tokens, summary, mask[task])
        errors.append((out.located[..., :2] - torch.from_numpy(demos.located[part])[..., :2]).norm(dim=-1).numpy())
    return np.concatenate(errors)
