"""What a policy sees in the images of one moment, to be drawn on them: pointing maps, points, named things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from vla_agent.models.backbones.pointing.pointing_backbone import Backbone, stack_images
from vla_agent.policy.doubt.things import find_things
from vla_agent.view.source import Box, Picture

LEAST = 0.5  # probability of a thing that is drawn


class PolicyEyes:
    """Looks through a policy's own vision.  A policy without a pointing backbone has nothing to draw.

    Looking costs the policy's vision once more, and changes nothing of the policy.
    """

    def __init__(self, policy: Any) -> None:
        self._policy, self._text = policy, None
        self._backbone = policy.backbone if isinstance(getattr(policy, "backbone", None), Backbone) else None

    @torch.inference_mode()
    def begin(self, instruction: str) -> None:
        """Look from now on with this instruction in mind; call it after the policy's `reset`."""
        if self._backbone is not None:
            reading = getattr(self._policy, "reading", None)
            self._text = self._backbone.encode_text([instruction if reading is None else reading.text])

    @torch.inference_mode()
    def look(self, images: Mapping[str, np.ndarray]) -> dict[str, Picture]:
        """Camera -> its picture, from images (H, W, 3) uint8 in the contract's sizes."""
        plain = {name: Picture(name, image) for name, image in images.items()}
        if self._backbone is None or self._text is None:
            return plain
        names = self._policy.contract.camera_names
        stacked = self._backbone.fitted(stack_images(dict(images), names))
        if self._text.folded is None:
            found = self._backbone(stacked, self._text)
        else:
            found = self._backbone.point(stacked, self._text.folded, self._text.summary)
        maps, seen = found.maps[0].exp().cpu().numpy(), found.seen[0].sigmoid().cpu().numpy()
        points = found.points[0].cpu().numpy()
        height, width = (size // 4 for size in self._backbone.model.config.image_size)
        boxes = self._boxes(found.stem)
        for view, name in enumerate(names):
            role_maps = maps[view].reshape(-1, height, width)
            largest = role_maps.max(axis=(1, 2), keepdims=True)
            plain[name] = Picture(
                name, images[name], role_maps / np.maximum(largest, 1e-9), points[view], seen[view], boxes.get(view, ())
            )
        return plain

    def _boxes(self, stem: torch.Tensor | None) -> dict[int, tuple[Box, ...]]:
        """View -> the things that the policy's sight names in it."""
        doubter = getattr(self._policy, "doubter", None)
        if doubter is None or stem is None:
            return {}
        maps = doubter.sight.look(stem).arrays()
        things = [thing for thing in find_things(maps, doubter.settings) if thing.probability > LEAST]
        return {0: tuple(Box(f"{thing.name} {thing.probability:.0%}", thing.box) for thing in things)}
