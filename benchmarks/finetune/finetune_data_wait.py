"""How long a fine-tuning waits for its batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.shared.evaluations import POLICY
from benchmarks.shared.finetunings import FOLDER, demonstrations, tune

NAME = "finetune-data-wait"
TITLE = "share of a fine-tuning's time that the model waits for data, LoRA on two cameras"
TARGET = 0.05
UNIT = "share"
BETTER = "lower"
DEMONSTRATIONS = 10
SETTINGS = ("train.samples=3200",)


def run(base: Path = POLICY, settings: tuple[str, ...] = SETTINGS, folder: Path = FOLDER) -> dict[str, Any]:
    """Once with colour augmentation only, once with all augmentations."""
    data = demonstrations("stack", DEMONSTRATIONS, folder)
    changed = ("robust.augment.shift=4", "robust.augment.crop=0.1", "robust.wordings=true")
    rows = []
    for name, more in (("colour alone", ()), ("shift, crop, colour, wordings", changed)):
        tuned = tune(base, data, "lora", (*settings, *more), folder)
        seconds = json.loads((Path(tuned.policy) / "training.json").read_text())["seconds"]
        rows.append({"pictures": name, "waits": seconds["drawing"], "whole": seconds["tune"]})
    shares = [row["waits"] / row["whole"] for row in rows]
    return {
        "value": max(shares),
        "n": len(rows),
        "interval": None,
        "seeds": [0],
        "rows": [row | {"share": share} for row, share in zip(rows, shares, strict=True)],
        "notes": "decoded images lie in a memory map; the value is the worse of the two",
    }
