"""Stage 3: the sight learns what is where from the finished stem; then the policy's doubt is calibrated.

Neither changes the backbone or the head: a policy acts as before, until it does not see what an instruction names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_agent.errors import DatasetError
from vla_agent.models.backbones.pointing.pointing_backbone import Backbone
from vla_agent.models.backbones.pointing.sight import Sight, SightLabels, sight_losses
from vla_agent.policy.doubt.doubt_settings import CURVES, DoubtSettings
from vla_agent.policy.doubt.doubter import Doubter
from vla_agent.policy.doubt.logistic_fit import fit_logistic
from vla_agent.training.demonstrations import SIGHTED, Questions
from vla_agent.training.recipe import TrainSight
from vla_agent.training.stages.held_back_claims import fixture_claims, object_claims, place_claims, relation_claims
from vla_agent.training.stages.pointing_stage import jitter

LEAST_HELD_BACK = 2  # images


class SightBatches:
    """Draws batches of generated images and computes the stage's losses.

    Attributes:
        held_back: (n, 2) shard and row of the images that are not trained on, evenly from all.
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
        rows = np.linspace(0, len(places) - 1, last).round().astype(int)
        self.drawn, self.held_back = np.delete(places, rows, axis=0), places[rows]
        self._stems: dict[int, Tensor] = {}  # of drawn images, where they are kept

    def losses(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch's losses, those of `sight_losses`."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        count = min(self.settings.batch, len(self.drawn))
        rows = rng.choice(len(self.drawn), count, replace=False)
        places = self.drawn[rows]
        stem = self._kept_stem(rows, generator) if self.settings.keep_stems else self._stem(places, generator)
        return sight_losses(self.sight(stem), self.labels(places), self.sight.sizes, stem.shape[-1])

    @torch.no_grad()
    def _stem(self, places: np.ndarray, generator: torch.Generator) -> Tensor:
        """(I, V, C4, h, w) of images whose colours are jittered."""
        pixels = jitter(self.backbone.pixels(self._images(places)), self.settings.colour_jitter, generator)
        return self.backbone.model.encode_images(pixels)

    def _kept_stem(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """The stem of drawn images, computed at their first use, in half precision in memory."""
        new = [int(row) for row in rows if int(row) not in self._stems]
        if new:
            self._stems |= dict(zip(new, self._stem(self.drawn[new], generator).half(), strict=True))
        return torch.stack([self._stems[int(row)] for row in rows]).float()

    def labels(self, places: np.ndarray) -> SightLabels:
        """What the images of (I, 2) shard and row show."""
        found = {
            name: np.stack([getattr(self.questions, name)[shard][row] for shard, row in places]) for name in SIGHTED
        }
        numbers = {name: torch.from_numpy(found[name]).long() for name in ("named", "named_places", "fixtures")}
        boxes = np.concatenate([found["named_points"], found["named_sizes"]], -1)
        return SightLabels(
            named=numbers["named"],
            boxes=torch.from_numpy(boxes),
            heights=torch.from_numpy(found["named_positions"][..., 2]),
            places=numbers["named_places"],
            fixtures=numbers["fixtures"],
            fixture_points=torch.from_numpy(found["fixture_points"]),
        )

    def _images(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([self.questions.images[shard][row] for shard, row in places]))

    @torch.inference_mode()
    def calibrate(self, shapes: tuple[str, ...], colours: tuple[str, ...], seed: int) -> Doubter:
        """The doubter whose probabilities are right on the images that were held back: see `held_back_claims`."""
        claims = self.held_back_claims(np.random.default_rng(seed))
        slope, offset = fit_logistic(*claims["object"])
        curves: dict[str, Any] = {
            kind: fit_logistic(*claims[kind]) for kind in CURVES if len(set(claims[kind][1])) == 2
        }
        width, context = self.sight.width, self.sight.context
        settings = DoubtSettings(shapes, colours, slope, offset, 0.5, width=width, context=context)
        settings = replace(settings, **curves)
        fits, absent = claims["object"]
        present = np.sort(settings.absent(fits[~absent]))
        most = present[min(len(present) - 1, int(np.ceil(len(present) * (1 - self.settings.refused))) - 1)]
        settings = replace(settings, hold_above=max(0.5, float(most)))
        return Doubter(self.sight.eval().requires_grad_(False), settings, self.backbone.model.positions)

    @torch.inference_mode()
    def held_back_claims(self, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per kind of claim: what the sight gives (n,), and whether the claim is false (n,), on the images held back.

        About half of each are false.  Of the objects that are not there, half share shape or colour with one that is.
        """
        self.sight.eval()
        found: dict[str, list[tuple[float, bool]]] = {kind: [] for kind in ("object", *CURVES)}
        for place in self.held_back:
            pixels = self.backbone.pixels(self._images(place[None]))
            maps = self.sight.look(self.backbone.model.encode_images(pixels)).arrays()
            labels = self.labels(place[None])
            positions = self.questions.named_positions[place[0]][place[1]]
            found["object"] += object_claims(maps, labels, rng)
            found["fixture"] += fixture_claims(maps, labels, rng)
            found["place"] += place_claims(maps, labels, rng)
            found["relation"] += relation_claims(maps, labels, positions, self.backbone.model.positions, rng)
        return {
            kind: (np.array([fit for fit, _ in each]), np.array([false for _, false in each], bool))
            for kind, each in found.items()
        }
