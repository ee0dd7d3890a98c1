"""Shards: a fixed number of annotated images in two files, ``shard-00000.npz`` and ``shard-00000.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sim.questions.annotated_images import VIEWS, sample_annotated_images
from sim.questions.question_items import Item
from sim.world.scene import COLOURS, SHAPES
from sim.world.world import World
from vla_agent.files.write_aside import file_aside, write_text

LABELS = {  # of a shard: what is where, as in `AnnotatedImages`
    "named": "object_classes",
    "named_points": "object_points",
    "named_sizes": "object_sizes",
    "named_positions": "object_positions",
    "named_places": "object_places",
    "fixtures": "fixture_classes",
    "fixture_points": "fixture_points",
}


def shard_file(folder: Path, number: int) -> Path:
    """The file whose presence says that the shard is complete: it is written last."""
    return folder / f"shard-{number:05d}.npz"


def write_shard(
    world: World, folder: Path, number: int, seeds: range, vary: Sequence[str] = (), at_start: bool = False
) -> int:
    """Render and write one shard; returns its number of items."""
    images = np.empty((len(seeds), len(VIEWS), *world.image_size, 3), np.uint8)
    points: list[np.ndarray] = []
    per_scene: dict[str, list[np.ndarray]] = {name: [] for name in LABELS}
    per_item: dict[str, list] = {"picture": [], "located": [], "asked": []}
    lines = []
    nothing = np.full((2, 3), np.nan, np.float32)
    for row, seed in enumerate(seeds):
        sample = sample_annotated_images(world, np.random.default_rng(seed), vary, at_start)
        images[row] = [sample.images[view] for view in VIEWS]
        points.append(sample.points)
        for name, attribute in LABELS.items():
            per_scene[name].append(getattr(sample, attribute))
        for item in sample.items:
            per_item["picture"].append(row)
            per_item["located"].append(nothing if item.located is None else item.located)
            per_item["asked"].append(_mentioned_classes(item))
            lines.append(json.dumps({"kind": item.kind, "seed": seed, "prompt": item.prompt, "answer": item.answer}))
    data = shard_file(folder, number)
    write_text(data.with_suffix(".jsonl"), "\n".join(lines) + "\n")
    with file_aside(data) as aside, aside.open("wb") as file:
        labels: dict[str, Any] = {name: np.array(found) for name, found in per_scene.items()}
        np.savez(
            file,
            images=images,
            picture=np.array(per_item["picture"]),
            points=np.concatenate(points),
            located=np.array(per_item["located"]),
            asked=np.array(per_item["asked"]),
            **labels,
        )
    return len(lines)


def _mentioned_classes(item: Item) -> np.ndarray:
    """(2, 2) int8: shape and colour of the first two objects that the prompt mentions, -1 for what it leaves open."""
    classes = np.full((2, 2), -1, np.int8)
    for row, (colour, shape) in zip(classes, item.mentions, strict=False):
        row[:] = SHAPES.index(shape) if shape else -1, list(COLOURS).index(colour) if colour else -1
    return classes
