"""A calibrated probability that an instruction can not be done here, and why.

    instruction --words-----------------> what it takes for granted (`claims`), what is never right (`unsafe`)
                --text encoder, queries-> objects that it names, where its words name none in full
    images ------stem, `Sight`----------> how well each claim fits the best cell        at every look
    fit --logistic, calibrated----------> probability that the claim is false           Platt 1999

An object that was seen in one of the last looks counts as seen; one that was seen before these is missed only where it
is surely not seen any more (the odds of the two are multiplied). One that the hand is near counts as seen for as long:
the gripper hides what it takes, and takes it along. What went along with the hand is not missed any more: it may lie in
a tray, a drawer, or the gripper. Elsewhere an object that is taken away is missed after as many looks. A fixture stays
where it was seen. Where an object lies, and what it is beside, is judged at the first look: acting changes it. Nothing
is said of instructions that claim nothing, such as "open the drawer": their doubt is None.

Imports no torch: an exported policy (`vla_agent.export`) doubts with this module, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.policy.doubt.claims import Claims, Named, read_claims, with_read
from vla_agent.policy.doubt.doubt_settings import Doubt, DoubtSettings, logistic
from vla_agent.policy.doubt.things import Thing, find_things
from vla_agent.policy.doubt.unsafe import unsafe

NAMED = 0.5  # a query names a shape or colour whose probability is larger
LONGEST = 500  # characters of an instruction, as on the topic
QUERIES = 2  # the first ones learn what the prompt names
UNSAFE = 0.999  # probability that what the words say must not be done
SURE = -7.0  # least logarithm of the odds that what was seen before the last looks is absent: it may be taken away
NEAR = 0.12  # metres, horizontally, between the hand and where an object was seen: it may hide it
CARRIED = 0.15  # metres, horizontally, from where an object near the hand was seen first: it went along
OnPlane = Callable[[np.ndarray, np.ndarray], np.ndarray]  # points (N, 2) of the first view, heights (N,) -> xy (N, 2)


class Looking(Protocol):
    """A sight: `vla_agent.models.backbones.pointing.sight.Sight`, in evaluation mode, or its exported graph."""

    def look(self, stem: Any) -> SightMaps:
        """Text-free features (1, V, C4, h, w), or whatever the graph gave -> log-probabilities."""


class Doubter:
    """Looks at each image for what the instruction takes for granted.

    Args:
        sight: finds the objects.
        on_plane: of the backbone; without it nothing is said of relations.

    Attributes:
        doubt: after the last look; None before one, and where the instruction claims nothing.
    """

    def __init__(self, sight: Looking, settings: DoubtSettings, on_plane: OnPlane | None = None) -> None:
        self.sight: Any = sight
        self.settings, self.on_plane = settings, on_plane
        self.claims, self.unsafe = Claims(), ""
        self.doubt: Doubt | None = None
        self._fits: deque[np.ndarray] = deque(maxlen=settings.looks)
        self._seen: np.ndarray | None = None  # best log-probability of each fixture until now
        self._first: list[tuple[float, str]] = []  # probability and reason of what the first look decides

    def reset(self, query_logits: Any, instruction: str = "", read: str = "") -> None:
        """Begin an instruction.

        Args:
            query_logits: (1, Q, shapes + colours) of the backbone for this instruction.
            read: the instruction in the policy's own words, where a reader put it so: what it names is claimed as well.
        """
        if len(instruction) > LONGEST:  # nobody says so much; reading it takes time that grows with its square
            self.claims, self.unsafe = Claims(), f"the instruction has more than {LONGEST} characters"
        else:
            self.claims, self.unsafe = read_claims(instruction, self.settings), unsafe(instruction)
            if read and read != instruction:
                self.claims = with_read(self.claims, read_claims(read, self.settings))
        self._objects = [(named.shape, named.colour) for named in self.claims.objects]
        if not self._objects:
            shapes, colours = self.settings.shapes, self.settings.colours
            logits = query_logits.detach().cpu() if hasattr(query_logits, "detach") else query_logits
            pairs = named_pairs(logistic((1.0, 0.0), np.asarray(logits[0])), len(shapes))
            self._objects = [(shapes[s], colours[c]) for s, c in pairs]
        self.doubt, self._seen, self._first = None, None, []
        self._fits.clear()
        self._earlier: np.ndarray | None = None  # best log-probability of each object before the last looks
        self._places: list[np.ndarray | None] = [None] * len(self._objects)  # where each was seen last, metres
        self._origins: list[np.ndarray | None] = [None] * len(self._objects)  # and first
        self._carried = [False] * len(self._objects)

    def look(self, stem: Any, hand: np.ndarray | None = None) -> Doubt | None:
        """The doubt after one more observation.

        Args:
            stem: (1, V, C4, h, w).
            hand: (2,) x, y of the end effector in the base frame, metres; None: nothing counts as hidden by it.
        """
        claims = self.claims
        if not (self._objects or claims.fixtures or claims.places or claims.relations or self.unsafe):
            return None
        maps = self.sight.look(stem).arrays()
        if not self._fits:
            self._first = [*self._misplaced(maps), *self._unrelated(maps)]
        found = [*self._missing(maps, hand), *self._no_fixture(maps), *self._first]
        found += [(UNSAFE, self.unsafe)] if self.unsafe else []
        probability = 1 - float(np.prod([1 - p for p, _ in found]))
        worst = max(found, key=lambda one: one[0])
        self.doubt = Doubt(probability, worst[1] if probability > self.settings.hold_above else "")
        return self.doubt

    @property
    def holds(self) -> bool:
        """Whether the policy is to hold still."""
        return self.doubt is not None and self.doubt.probability > self.settings.hold_above

    def _missing(self, maps: SightMaps, hand: np.ndarray | None) -> list[tuple[float, str]]:
        """Of each object that is named: probability that it is absent, and the reason."""
        fits = np.array([self._fit(k, maps, hand) for k in range(len(self._objects))])
        if len(self._fits) == self.settings.looks:
            self._earlier = self._fits[0] if self._earlier is None else np.maximum(self._earlier, self._fits[0])
        self._fits.append(fits)
        absent = self._absent(np.max(self._fits, axis=0))
        things = find_things(maps, self.settings) if (absent > self.settings.hold_above).any() else []
        return [(float(p), _unseen(*pair, things)) for p, pair in zip(absent, self._objects, strict=True)]

    def _absent(self, fits: np.ndarray) -> np.ndarray:
        """Probability that each object is absent, from its best fit in the last looks and in those before them."""
        if self._earlier is None:
            return self.settings.absent(fits)
        now, before = (self.settings.slope * each + self.settings.offset for each in (fits, self._earlier))
        return logistic((1.0, 0.0), now + np.clip(before, SURE, 0.0))

    def _fit(self, number: int, maps: SightMaps, hand: np.ndarray | None) -> float:
        """How well the best cell fits an object; where the hand may hide it, how well one did before."""
        shapes, colours = self._named_by(*self._objects[number])
        each = maps.pairs(shapes, colours)[0]  # (V, those shapes, those colours)
        fit = float(each.max())
        if hand is None or self.on_plane is None:
            return fit
        seen = self.settings.absent(each.max((1, 2))) <= self.settings.hold_above  # (V,)
        near = self._is_near(number, hand)
        if seen[0]:
            shape, colour = (int(k) for k in np.unravel_index(int(each[0].argmax()), each[0].shape))
            pair = shape + (shapes.start or 0), colour + (colours.start or 0)
            self._move(number, position(maps, pair, self.on_plane), hand)
        elif near:
            self._move(number, hand, hand)
        hidden = self._carried[number] or (near and not seen.any())
        return max(fit, float(np.max(self._fits, axis=0)[number])) if hidden and self._fits else fit

    def _is_near(self, number: int, hand: np.ndarray) -> bool:
        """Whether the hand is where the object was seen last."""
        place = self._places[number]
        return place is not None and float(np.linalg.norm(place - hand)) < NEAR

    def _move(self, number: int, place: np.ndarray, hand: np.ndarray) -> None:
        """The object is here now."""
        origin = self._origins[number]
        self._origins[number] = place if origin is None else origin
        self._places[number] = place
        if origin is not None and self._is_near(number, hand):
            self._carried[number] |= float(np.linalg.norm(place - origin)) > CARRIED

    def _named_by(self, shape: str, colour: str) -> tuple[slice, slice]:
        """The shapes and the colours that a thing may have; an empty name leaves all."""

        def place(names: Sequence[str], name: str) -> slice:
            return slice(names.index(name), names.index(name) + 1) if name else slice(None)

        return place(self.settings.shapes, shape), place(self.settings.colours, colour)

    def _no_fixture(self, maps: SightMaps) -> list[tuple[float, str]]:
        settings, claimed = self.settings, self.claims.fixtures
        if not claimed:
            return []
        fits = maps.fixtures[0].max((0, -1))  # (kinds, colours)
        self._seen = fits if self._seen is None else np.maximum(self._seen, fits)
        absent = logistic(settings.fixture, self._seen)
        found = []
        for colour, kind in claimed:
            row = absent[settings.fixtures.index(kind)]
            others = [f"{c} {kind}" for c, p in zip(settings.colours, row, strict=True) if p < 0.5]
            reason = f"I see no {colour} {kind}" + (f"; I see {_listed(others)}" if others else "")
            found.append((float(row[settings.colours.index(colour)]), reason))
        return found

    def _misplaced(self, maps: SightMaps) -> list[tuple[float, str]]:
        """Of each claim that an object lies in a place: probability that it does not, and the reason."""
        found = []
        for named, place in self.claims.places:
            fit = place_fits(maps, self._pair(named))[self.settings.places.index(place)]
            found.append((float(logistic(self.settings.place, fit)), f"the {named} is not in the {place}"))
        return found

    def _unrelated(self, maps: SightMaps) -> list[tuple[float, str]]:
        """Of each claim that an object lies in a direction of another: probability that it does not, and the reason."""
        if self.on_plane is None:
            return []
        found = []
        for a, direction, b in self.claims.relations:
            offset = position(maps, self._pair(a), self.on_plane) - position(maps, self._pair(b), self.on_plane)
            clear = clearance(offset, next(vector for name, *vector in self.settings.directions if name == direction))
            reason = f"the {a} is not {direction} the {b}"
            found.append((float(logistic(self.settings.relation, clear)), reason))
        return found

    def _pair(self, named: Named) -> tuple[int, int]:
        return self.settings.shapes.index(named.shape), self.settings.colours.index(named.colour)


def _best_cell(maps: SightMaps, pair: tuple[int, int]) -> int:
    """The cell of the first view where a (shape, colour) fits best."""
    shape, colour = pair
    return int((maps.objects[0, 0] + maps.shapes[0, 0, shape] + maps.colours[0, 0, colour]).argmax())


def place_fits(maps: SightMaps, pair: tuple[int, int]) -> np.ndarray:
    """(places,) log-probabilities of where the (shape, colour) lies that is seen best in the first view."""
    return maps.places[0, 0, :, _best_cell(maps, pair)]


def position(maps: SightMaps, pair: tuple[int, int], on_plane: OnPlane, size: int = 24) -> np.ndarray:
    """(2,) x, y in metres of a (shape, colour) at its best cell of the first view.

    Args:
        size: cells in a row of the maps.
    """
    cell = _best_cell(maps, pair)
    du, dv = maps.boxes[0, 0, :2, cell].tolist()
    rows = maps.objects.shape[-1] // size
    point = np.array([[(cell % size + 0.5 + du) / size, (cell // size + 0.5 + dv) / rows]], np.float32)
    return on_plane(point, maps.heights[0, 0, cell, None])[0]


def clearance(offset: np.ndarray, vector: Sequence[float]) -> float:
    """How far, in metres, an offset (2,) lies inside the 90 degrees around a unit vector; negative outside."""
    (dx, dy), (ux, uy) = offset, vector
    return float(dx * ux + dy * uy - abs(dx * uy - dy * ux))


def named_pairs(probabilities: np.ndarray, shapes: int) -> list[tuple[int, int]]:
    """Pairs (shape, colour) that an instruction names, from its queries' (Q, shapes + colours) probabilities."""
    pairs = []
    for query in probabilities[:QUERIES]:
        of_shapes, of_colours = query[:shapes], query[shapes:]
        if of_shapes.max() > NAMED and of_colours.max() > NAMED:
            pairs.append((int(of_shapes.argmax()), int(of_colours.argmax())))
    return list(dict.fromkeys(pairs))


def _unseen(shape: str, colour: str, things: Sequence[Thing]) -> str:
    alike = [t.name for t in things if (t.shape == shape) != (t.colour == colour)] if shape and colour else []
    return f"I see no {colour} {shape or 'thing'}".replace("  ", " ") + (f"; I see {_listed(alike)}" if alike else "")


def _listed(names: Sequence[str]) -> str:
    """``a red cup, an orange mug and a blue mug``."""
    said = list(dict.fromkeys(f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in names))
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)
