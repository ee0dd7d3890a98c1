"""The pointing backbone learns to name objects (stage 0), then to answer questions, to point and to locate (stage 1).

In stage 1 some samples of a batch are generated images with questions and instructions, the others demonstration frames
with their instruction, so that the pointing maps also follow an object into the gripper and a two-step task to its
second step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.training.demonstrations import Demonstrations, Questions
from vla_agent.training.recipe import NameStem, Pretrain
from vla_agent.training.stages.pointing_losses import asked_loss, move_loss, naming_loss, plane_loss, pointing_losses

EARLY_FRAMES = 10  # of an episode, which are drawn more often
LONGEST_ANSWER = 24  # tokens


@dataclass(frozen=True)
class _Samples:
    """Samples of a batch; several may share an image.

    images: (I, V, H, W, 3) uint8.  image_of: (B,) number of each sample's image.  ids, mask: (B, L) text.
    points: (B, V, R, 3) u, v, inside.  located: (B, R, 3) metres.
    """

    images: np.ndarray
    image_of: list[int]
    ids: Tensor
    mask: Tensor
    points: np.ndarray
    located: np.ndarray


@dataclass(frozen=True)
class _QuestionSamples(_Samples):
    """Samples of generated images.  items: (B,) numbers of the questions.  drawn: (I,) numbers of the images."""

    items: np.ndarray
    drawn: np.ndarray


class PretrainBatches:
    """Draws batches and gives the stages' losses."""

    def __init__(
        self, backbone: Backbone, questions: Questions | None, demonstrations: Demonstrations, settings: Pretrain
    ) -> None:
        self.backbone, self.questions, self.demos, self.settings = backbone, questions, demonstrations, settings
        self.demo_ids, self.demo_mask = backbone.tokenize(demonstrations.instructions)
        self.early = np.flatnonzero(demonstrations.frame < EARLY_FRAMES)
        if questions is not None:
            self.images, self.names, self.name_points = questions.images, questions.named, questions.named_points
            # (shard, row) of each image, and the numbers of the questions about it
            self.image_places, first, count = np.unique(
                np.stack([questions.shard, questions.row], 1), axis=0, return_index=True, return_counts=True
            )
            self.items = [np.arange(f, f + c) for f, c in zip(first, count, strict=True)]
            self.has_points = ~np.isnan(questions.located[:, 0, 0])
            self.ids, self.mask = backbone.tokenize(questions.prompts)
            self.answers = self._tokenize_answers(questions.answers)

    def _tokenize_answers(self, answers: list[str]) -> Tensor:
        """(items, L) token ids; -100 after the end."""
        tokenizer = self.backbone.tokenizer
        texts = [answer + tokenizer.eos_token for answer in answers]
        batch = tokenizer(texts, padding=True, truncation=True, max_length=LONGEST_ANSWER, return_tensors="pt")
        return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)

    def naming_losses(self, stage: NameStem, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's loss of stage 0."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        drawn = self._draw_images(stage.batch, rng)
        images = self.backbone.pixels(torch.from_numpy(self._images(drawn)))
        pixels = jitter(images, stage.colour_jitter, generator)
        named, points = self._named_objects(drawn)
        return {"name": naming_loss(self.backbone.model, self.backbone.model.encode_images(pixels), named, points)}

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's losses of stage 1: map, point, seen, locate, asked, move, name, answer."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        size = self.settings.batch
        from_demos = round(size * self.settings.demonstration_share) if self.questions is not None else size
        frames = self._draw_frames(from_demos, rng) if from_demos else None
        asked = self._draw_questions(size - from_demos, rng) if from_demos < size else None
        parts = [part for part in (frames, asked) if part is not None]
        images, image_of, ids, mask, points, located = self._join(parts)
        pixels = jitter(self.backbone.pixels(images), self.settings.colour_jitter, generator)
        model = self.backbone.model
        tokens, summary = model.text(ids, mask)
        f4 = model.encode_images(pixels)
        out = model.fuse(f4[image_of], tokens, summary, mask)
        losses = pointing_losses(out, points, located, model.config.image_size)
        if asked is not None and self.questions is not None:
            names = torch.from_numpy(self.questions.asked[asked.items]).long()
            losses["asked"] = asked_loss(model, out.query_logits[from_demos:], names)
        if model.config.move_kernel:
            losses["move"] = move_loss(out, points, model.config.image_size)
        losses["locate"] = losses["locate"] + plane_loss(model, points, located)
        if asked is not None:
            losses["name"] = naming_loss(model, f4[from_demos:], *self._named_objects(asked.drawn))
            losses["answer"] = self._answer_loss(out.hidden[from_demos:], asked.items)
        return losses

    def _draw_frames(self, count: int, rng: np.random.Generator) -> _Samples:
        """Demonstration frames with their instructions; a part of them from the episodes' first frames."""
        early = round(count * self.settings.early_share)
        frames = np.concatenate([rng.choice(self.early, early), rng.integers(len(self.demos), size=count - early)])
        frames.sort()
        task = torch.from_numpy(self.demos.task[frames])
        return _Samples(
            self.demos.images_of(frames),
            list(range(count)),
            self.demo_ids[task],
            self.demo_mask[task],
            self.demos.points[frames],
            self.demos.located[frames],
        )

    def _draw_questions(self, count: int, rng: np.random.Generator) -> _QuestionSamples:
        """Generated images with some questions about each; ``count`` samples, or a few more."""
        assert self.questions is not None
        drawn = self._draw_images(-(-count // self.settings.questions_each), rng)
        chosen = [self._questions_about(number, rng) for number in drawn]
        items = np.concatenate(chosen)
        return _QuestionSamples(
            self._images(drawn),
            [n for n, of_image in enumerate(chosen) for _ in of_image],
            self.ids[items],
            self.mask[items],
            self.questions.points[items],
            self.questions.located[items],
            items,
            drawn,
        )

    def _draw_images(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of different generated images."""
        return rng.choice(len(self.image_places), min(count, len(self.image_places)), replace=False)

    def _questions_about(self, image: int, rng: np.random.Generator) -> np.ndarray:
        """Some of an image's questions, mostly of those that have points."""
        items = rng.permutation(self.items[image])
        want_points = rng.random(len(items)) < self.settings.pointing_share
        return items[np.argsort(want_points & ~self.has_points[items], kind="stable")][: self.settings.questions_each]

    def _images(self, drawn: np.ndarray) -> np.ndarray:
        """(I, V, H, W, 3) uint8 of generated images."""
        return np.stack([self.images[shard][row] for shard, row in self.image_places[drawn]])

    def _named_objects(self, drawn: np.ndarray) -> tuple[Tensor, Tensor]:
        """Shape and colour of every object of the images, (I, O, 2), and its place, (I, V, O, 3)."""
        places = self.image_places[drawn]
        named = torch.from_numpy(np.stack([self.names[shard][row] for shard, row in places])).long()
        return named, torch.from_numpy(np.stack([self.name_points[shard][row] for shard, row in places]))

    def _join(self, parts: list[_Samples]) -> tuple[Tensor, ...]:
        """images, image_of, ids, mask, points and located of all samples; texts are cut to the longest."""
        starts = np.cumsum([0] + [len(part.images) for part in parts])
        image_of = [start + n for part, start in zip(parts, starts, strict=False) for n in part.image_of]
        longest = max(int(part.mask.sum(1).max()) for part in parts)
        pad = self.backbone.tokenizer.pad_token_id
        ids = [F.pad(p.ids, (0, max(0, longest - p.ids.shape[1])), value=pad)[:, :longest] for p in parts]
        mask = [F.pad(p.mask, (0, max(0, longest - p.mask.shape[1])))[:, :longest] for p in parts]
        return (
            torch.from_numpy(np.concatenate([part.images for part in parts])),
            torch.tensor(image_of),
            torch.cat(ids),
            torch.cat(mask),
            torch.from_numpy(np.concatenate([part.points for part in parts])),
            torch.from_numpy(np.concatenate([part.located for part in parts])),
        )

    def _answer_loss(self, hidden: Tensor, items: np.ndarray) -> Tensor:
        """Cross entropy of the answers' tokens, given hidden features (B, N, C)."""
        model, labels = self.backbone.model, self.answers[items]
        labels = labels[:, : int((labels != -100).sum(1).max())]
        start = torch.full((len(labels), 1), model.config.bos_token_id)
        logits = model.decode(hidden, torch.cat([start, labels[:, :-1].clamp_min(0)], dim=1))
        return 0.5 * F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def jitter(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Random brightness and contrast of each image, the same in all views; pixels (I, V, 3, H, W) normalised."""
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
        pixels = backbone.pixels(torch.from_numpy(demos.images_of(part)))
        out = backbone.model.fuse(backbone.model.encode_images(pixels), tokens, summary, mask[task])
        errors.append((out.located[..., :2] - torch.from_numpy(demos.located[part])[..., :2]).norm(dim=-1).numpy())
    return np.concatenate(errors)
