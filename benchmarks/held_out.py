"""Generated pictures with questions, less those that show or name what a policy is not to have seen."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from sim.scene import SHAPES
from sim.task import load_suite


def without(source: Path, out: Path, shapes: Collection[str], families: Collection[str]) -> Path:
    """Copy the shards of `sim.questions` without pictures of ``shapes``, instructions of ``families`` and prompts that
    name such a shape; ``out`` appears when it is whole."""
    if out.is_dir():
        return out
    aside = out.with_name(out.name + ".part")
    aside.mkdir(parents=True, exist_ok=True)
    instructions = [pattern(wording) for family in families for wording in _wordings(family)]
    for file in sorted(source.glob("*.npz")):
        _copy(file, aside, shapes, instructions)
    os.replace(aside, out)
    return out


def pattern(wording: str) -> re.Pattern[str]:
    """What a wording such as ``push the {target} to the {zone} zone`` makes of any words in its slots."""
    return re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(wording)))


def _wordings(family: str) -> Iterable[str]:
    wordings = load_suite("tabletop")[family].wordings
    return (*wordings.train, *wordings.held_out)


def _copy(file: Path, out: Path, shapes: Collection[str], instructions: Collection[re.Pattern[str]]) -> None:
    unseen = [SHAPES.index(shape) for shape in shapes]
    lines = file.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    with np.load(file, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    shown = np.logical_not(np.isin(arrays["named"][:, :, 0], unseen).any(axis=1, keepdims=True))[:, 0]  # (pictures,)
    kept = []
    for k, (line, picture) in enumerate(zip(lines, arrays["picture"], strict=True)):
        item = json.loads(line)
        prompt = item["prompt"]
        new = item["kind"] == "instruction" and any(p.fullmatch(prompt) for p in instructions)
        if shown[picture] and not new and not set(shapes) & set(re.findall(r"\w+", prompt)):
            kept.append(k)
    place = np.cumsum(shown) - 1
    of_items = {name: arrays[name][kept] for name in ("points", "located", "asked")}
    of_pictures = {name: arrays[name][shown] for name in ("images", "named", "named_points")}
    with (out / file.name).open("wb") as target:
        np.savez(target, picture=place[arrays["picture"][kept]], **of_items, **of_pictures)
    text = "".join(lines[k] + "\n" for k in kept)
    (out / file.with_suffix(".jsonl").name).write_text(text, encoding="utf-8")
