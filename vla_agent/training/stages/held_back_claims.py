"""Claims about an image that was held back, true and false ones, with what the sight gives for each: they calibrate."""

from __future__ import annotations

import numpy as np

from vla_agent.models.backbones.pointing.sight import SightLabels
from vla_agent.models.backbones.pointing.sight_maps import SightMaps
from vla_agent.policy.doubt.doubt_settings import DIRECTIONS
from vla_agent.policy.doubt.doubter import OnPlane, clearance, place_fits, position

Judged = list[tuple[float, bool]]  # what the sight gives, and whether the claim is false


def object_claims(maps: SightMaps, labels: SightLabels, rng: np.random.Generator) -> Judged:
    """Each object in view, and for each one that is not there; every other one of these is alike."""
    fits = maps.pairs()[0].max(0)
    named = labels.named[0]
    there = {(int(s), int(c)) for s, c in named if s >= 0}
    in_view = (labels.boxes[0, :, :, 2] > 0.5).any(0) & (named[:, 0] >= 0)
    others = [(s, c) for s in range(fits.shape[0]) for c in range(fits.shape[1]) if (s, c) not in there]
    alike = [p for p in others if any((p[0] == s) != (p[1] == c) for s, c in there)] or others
    found: Judged = []
    for k, pair in enumerate((int(s), int(c)) for s, c in named[in_view]):
        pool = alike if k % 2 else others
        found += [(float(fits[pair]), False), (float(fits[pool[int(rng.integers(len(pool)))]]), True)]
    return found


def fixture_claims(maps: SightMaps, labels: SightLabels, rng: np.random.Generator) -> Judged:
    """Each fixture in view, and for each one of its kind in a colour that is not there."""
    fits = maps.fixtures[0].max((0, -1))  # (kinds, colours)
    there = {(int(k), int(c)) for k, c in labels.fixtures[0]}
    found: Judged = []
    for kind, colour in labels.fixtures[0][(labels.fixture_points[0, :, :, 2] > 0.5).any(0)].tolist():
        others = [c for c in range(fits.shape[1]) if (kind, c) not in there]
        found += [(float(fits[kind, colour]), False), (float(fits[kind, others[int(rng.integers(len(others)))]]), True)]
    return found


def place_claims(maps: SightMaps, labels: SightLabels, rng: np.random.Generator) -> Judged:
    """Each object that lies in one of the places besides the first, and one that does not."""
    found: Judged = []
    rows = _in_first_view(labels)
    elsewhere = [k for k in rows if labels.places[0, k] == 0]
    for k in rows:
        place = int(labels.places[0, k])
        if place > 0 and elsewhere:
            other = elsewhere[int(rng.integers(len(elsewhere)))]
            found.append((float(place_fits(maps, _pair(labels, k))[place]), False))
            found.append((float(place_fits(maps, _pair(labels, other))[place]), True))
    return found


def relation_claims(
    maps: SightMaps, labels: SightLabels, positions: np.ndarray, on_plane: OnPlane, rng: np.random.Generator
) -> Judged:
    """One relation that is so and one that is not, between two objects on the table.

    Args:
        positions: (O, 3) metres.
    """
    rows = [k for k in _in_first_view(labels) if labels.places[0, k] == 0]
    if len(rows) < 2:
        return []
    seen = {k: position(maps, _pair(labels, k), on_plane, round(maps.objects.shape[-1] ** 0.5)) for k in rows}
    found: dict[bool, list[float]] = {False: [], True: []}
    for a in rows:
        for b in rows:
            for _, *vector in DIRECTIONS[:3] if a != b else ():
                holds = clearance(positions[a, :2] - positions[b, :2], vector) >= 0
                found[not holds].append(clearance(seen[a] - seen[b], vector))
    return [(each[int(rng.integers(len(each)))], false) for false, each in found.items() if each]


def _in_first_view(labels: SightLabels) -> list[int]:
    """Rows of the objects that are in the first view, of pairs that occur once."""
    pairs = [tuple(pair) for pair in labels.named[0].tolist()]
    inside = (labels.boxes[0, 0, :, 2] > 0.5).tolist()
    return [k for k, pair in enumerate(pairs) if pair[0] >= 0 and inside[k] and pairs.count(pair) == 1]


def _pair(labels: SightLabels, row: int) -> tuple[int, int]:
    shape, colour = labels.named[0, row].tolist()
    return shape, colour
