"""A calibrated probability that the objects which an instruction names are not there.

    instruction --text encoder, queries--> pairs of shape and colour that it names      once an instruction
    images ------stem, `Sight`-----------> how well each pair fits the best cell        at every look
    fit --logistic, calibrated-----------> probability that the pair is not there       Platt 1999

An object that was seen in one of the last looks counts as seen: the gripper hides what it takes.  An object that is
taken away is missed after as many looks.  Nothing is said of instructions that name no object, such as "open the
drawer": their doubt is None.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vla_agent.models.backbones.pointing.sight import Sight, SightMaps
from vla_agent.policy.doubt.doubt_settings import DoubtSettings
from vla_agent.policy.doubt.things import Thing, find_things

NAMED = 0.5  # a query names a shape or colour whose probability is larger
QUERIES = 2  # the first ones learn what the prompt names


@dataclass(frozen=True)
class Doubt:
    """That an instruction can not be done here.

    probability: calibrated; of a pair of which present and absent ones are equally frequent.
    reason: in words, such as "I see no red mug; I see a red cup"; empty where the objects are seen.
    """

    probability: float
    reason: str


class Doubter:
    """Looks at each image for what the instruction names.

    Attributes:
        doubt: after the last look; None before one, and where the instruction names no object.
    """

    def __init__(self, sight: Sight, settings: DoubtSettings) -> None:
        self.sight, self.settings = sight.eval().requires_grad_(False), settings
        self.named: list[tuple[int, int]] = []
        self.doubt: Doubt | None = None
        self._fits: deque[np.ndarray] = deque(maxlen=settings.looks)

    def reset(self, query_logits: Tensor) -> None:
        """Begin an instruction.

        Args:
            query_logits: (1, Q, shapes + colours) of the backbone for this instruction.
        """
        self.named = named_pairs(query_logits[0].float().sigmoid().cpu().numpy(), len(self.settings.shapes))
        self.doubt = None
        self._fits.clear()

    def look(self, stem: Tensor) -> Doubt | None:
        """The doubt after one more observation, whose stem is (1, V, C4, h, w)."""
        if not self.named:
            return None
        maps = self.sight.look(stem)
        fits = maps.pairs()[0].amax(0).cpu().numpy()  # (shapes, colours)
        self._fits.append(np.array([fits[pair] for pair in self.named]))
        absent = self.settings.absent(np.max(self._fits, axis=0))
        present = float(np.prod(1 - absent))
        missed = self.named[int(np.argmax(absent))]
        reason = self._reason(missed, maps) if 1 - present > self.settings.hold_above else ""
        self.doubt = Doubt(1 - present, reason)
        return self.doubt

    @property
    def holds(self) -> bool:
        """Whether the policy is to hold still."""
        return self.doubt is not None and self.doubt.probability > self.settings.hold_above

    def _reason(self, missed: tuple[int, int], maps: SightMaps) -> str:
        shape, colour = self.settings.shapes[missed[0]], self.settings.colours[missed[1]]
        things = find_things(maps, self.settings)
        alike = [t for t in things if (t.shape == shape) != (t.colour == colour)]
        return f"I see no {colour} {shape}" + (f"; I see {_listed(alike)}" if alike else "")


def named_pairs(probabilities: np.ndarray, shapes: int) -> list[tuple[int, int]]:
    """Pairs (shape, colour) that an instruction names, from its queries' (Q, shapes + colours) probabilities."""
    pairs = []
    for query in probabilities[:QUERIES]:
        of_shapes, of_colours = query[:shapes], query[shapes:]
        if of_shapes.max() > NAMED and of_colours.max() > NAMED:
            pairs.append((int(of_shapes.argmax()), int(of_colours.argmax())))
    return list(dict.fromkeys(pairs))


def _listed(things: Sequence[Thing]) -> str:
    names = list(dict.fromkeys(f"{'an' if t.colour[0] in 'aeiou' else 'a'} {t.colour} {t.shape}" for t in things))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def fit_logistic(fits: np.ndarray, absent: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the logistic function that tells absent (n,) pairs from their log-probabilities (n,).

    Newton's method with Platt's targets, which keep a finite slope where the two do not overlap.
    """
    positive, negative = float(absent.sum()), float((~absent).sum())
    wanted = np.where(absent, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs = torch.tensor(np.stack([fits, np.ones_like(fits)], 1), dtype=torch.float64)
    target, weights = torch.tensor(wanted, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for _ in range(steps):
        found = (inputs @ weights).sigmoid()
        gradient = inputs.T @ (found - target)
        hessian = inputs.T @ (inputs * (found * (1 - found))[:, None]) + 1e-6 * torch.eye(2, dtype=torch.float64)
        weights = weights - torch.linalg.solve(hessian, gradient).clamp(-2.0, 2.0)
    return float(weights[0]), float(weights[1])
