"""Stage 3: the sight learns what is where from the finished stem; then the policy's doubt is calibrated.

Neither changes the backbone or the head: a policy acts as before, until it does not see what an instruction names.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vla_agent.errors import DatasetError
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.sight import Sight, sight_losses
from vla_agent.policy.doubt.doubt_settings import DoubtSettings
from vla_agent.policy.doubt.doubter import Doubter, fit_logistic
from vla_agent.training.demonstrations import Questions
from vla_agent.training.recipe import TrainSight
from vla_agent.training.stages.pointing_stage import jitter

LEAST_HELD_BACK = 2  # images


class SightBatches:
    """Draws batches of generated images and computes the stage's losses.

    Attributes:
        held_back: (n, 2) shard and row of the images that are not trained on.
    """

    def __init__(self, backbone: Backbone, sight: Sight, questions: Questions, settings: TrainSight) -> None:
        self.backbone, self.sight, self.questions, self.settings = backbone.eval(), sight, questions, settings
        places = np.unique(np.stack([questions.shard, questions.row], 1), axis=0)
        last = max(LEAST_HELD_BACK, round(len(places) * settings.hold_back))
        if len(places) <= last:
            raise DatasetError(
                "there are too few generated images",
                key="sight.hold_back",
                expected=f"more than {LEAST_HELD_BACK} images, a part of which calibrates",
                found=len(places),
                remedy="make more scenes, or set sight.samples to 0",
            )
        self.drawn, self.held_back = places[:-last], places[-last:]

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's losses: object, shape, colour, box."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        count = min(self.settings.batch, len(self.drawn))
        places = self.drawn[rng.choice(len(self.drawn), count, replace=False)]
        pixels = jitter(self.backbone.pixels(self._images(places)), self.settings.colour_jitter, generator)
        with torch.no_grad():
            stem = self.backbone.model.encode_images(pixels)
        named, boxes = self._objects(places)
        return sight_losses(self.sight(stem), named, boxes, self.sight.names, stem.shape[-1])

    def _images(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([self.questions.images[shard][row] for shard, row in places]))

    def _objects(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Shape and colour (I, O, 2), and boxes (I, V, O, 5), of the objects of images."""
        of = self.questions
        named = np.stack([of.named[shard][row] for shard, row in places])
        points = np.stack([of.named_points[shard][row] for shard, row in places])
        sizes = np.stack([of.named_sizes[shard][row] for shard, row in places])
        return torch.from_numpy(named).long(), torch.from_numpy(np.concatenate([points, sizes], -1))

    @torch.inference_mode()
    def calibrate(self, shapes: tuple[str, ...], colours: tuple[str, ...], seed: int) -> Doubter:
        """The doubter whose probabilities are right on the images that were held back.

        Half of the pairs are of objects in view; the other half are not there, and half of these share shape or colour
        with an object that is.
        """
        fits, absent = self.pairs_of_held_back(np.random.default_rng(seed))
        slope, offset = fit_logistic(fits, absent)
        found = DoubtSettings(shapes, colours, slope, offset, 0.5, width=self.sight.width)
        present = np.sort(found.absent(fits[~absent]))
        most = present[min(len(present) - 1, int(np.ceil(len(present) * (1 - self.settings.refused))) - 1)]
        return Doubter(
            self.sight,
            DoubtSettings(shapes, colours, slope, offset, max(0.5, float(most)), width=self.sight.width),
        )

    @torch.inference_mode()
    def pairs_of_held_back(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities (n,) of pairs at their best cell, and whether they are absent (n,)."""
        self.sight.eval()
        fits: list[float] = []
        absent: list[bool] = []
        for place in self.held_back:
            pixels = self.backbone.pixels(self._images(place[None]))
            pairs = self.sight.look(self.backbone.model.encode_images(pixels)).pairs()[0].amax(0).numpy()
            named, boxes = self._objects(place[None])
            there = {(int(s), int(c)) for s, c in named[0] if s >= 0}
            in_view = (boxes[0, :, :, 2] > 0.5).any(0) & (named[0, :, 0] >= 0)
            seen = [(int(s), int(c)) for s, c in named[0][in_view]]
            others = [(s, c) for s in range(pairs.shape[0]) for c in range(pairs.shape[1]) if (s, c) not in there]
            alike = [p for p in others if any((p[0] == s) != (p[1] == c) for s, c in there)] or others
            for k, pair in enumerate(seen):
                pool = alike if k % 2 else others
                other = pool[int(rng.integers(len(pool)))]
                fits += [float(pairs[pair]), float(pairs[other])]
                absent += [False, True]
        return np.array(fits), np.array(absent, bool)
