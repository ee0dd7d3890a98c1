"""Questions about new scenes: existence, relations, counts, captions, and boxes, answered by the shipped policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from benchmarks.nano.instructed import HELD_OUT, POLICY

NAME = "nano-answers"
TITLE = "answers on new scenes: the kind that is farthest from its target, over that target"
TARGET = 1.0
UNIT = "of the target"
BETTER = "higher"
TARGETS = {"exists": 0.95, "relation": 0.85, "count": 0.85, "caption": 0.75, "box": 0.80}
EACH = 200
OVERLAP = 0.5
CAPTION = re.compile(r"a (\w+ \w+) is (left of|right of|in front of) a (\w+ \w+)")


def run() -> dict[str, Any]:
    return measure(POLICY, EACH, HELD_OUT)


def measure(policy: str, each: int, seed: int) -> dict[str, Any]:
    """``each``: questions of each kind.  ``seed``: of the first scene."""
    from vla_agent.evaluation.success_statistics import wilson
    from vla_agent.policy.loading import load_policy

    loaded = load_policy(policy)
    if getattr(loaded, "doubter", None) is None:
        asked = f"{seed} on"
        notes = "the policy has no sight: it cannot answer with `vla-agent ask`"
        return {"value": 0.0, "n": 0, "interval": None, "seeds": asked, "notes": notes, "passed": False}
    outcomes: dict[str, list[bool]] = {kind: [] for kind in TARGETS}
    scenes = 0
    for found in _scenes(loaded, seed):
        scenes += 1
        for kind, right in found:
            if len(outcomes[kind]) < each:
                outcomes[kind].append(right)
        if all(len(done) >= each for done in outcomes.values()):
            break
    rows: list[dict[str, Any]] = []
    for kind, done in outcomes.items():
        low, high = wilson(sum(done), len(done))
        share = sum(done) / len(done)
        rows.append({"kind": kind, "k": sum(done), "n": len(done), "right": share, "low": low, "high": high})
    worst = min(rows, key=lambda row: row["right"] / TARGETS[row["kind"]])
    target = TARGETS[worst["kind"]]
    return {
        "value": worst["right"] / target,
        "n": sum(row["n"] for row in rows),
        "interval": [worst["low"] / target, worst["high"] / target],
        "seeds": f"{seed} to {seed + scenes - 1}",
        "rows": rows,
    }


def _scenes(policy: Any, seed: int) -> Iterator[list[tuple[str, bool]]]:
    """Seed after seed: the kinds of question about a scene, and whether the answer is right."""
    import numpy as np

    from sim.questions.annotated_images import sample_annotated_images
    from sim.world.world import World
    from vla_agent.evaluation.asking.answerer import Answerer

    answerer, world = Answerer(policy), World()
    try:
        number = seed
        while True:
            sample = sample_annotated_images(world, np.random.default_rng(number))
            answerer.look(sample.images)
            found = [("box", right) for right in boxes_found(answerer.things, sample)]
            relations = _relations(world, sample.scene)
            for item in sample.items:
                if item.kind in TARGETS:
                    found.append((item.kind, is_right(item, answerer.answer(item.prompt).text, relations)))
            yield found
            number += 1
    finally:
        world.close()


def is_right(item: Any, answer: str, relations: set[tuple[str, str, str]]) -> bool:
    """The expected words; or, for a caption, any relation that is so in the scene."""
    if answer == item.answer:
        return True
    caption = CAPTION.fullmatch(answer)
    return item.kind == "caption" and bool(CAPTION.fullmatch(item.answer) and caption and caption.groups() in relations)


def boxes_found(things: list[Any], sample: Any) -> list[bool]:
    """For each object in the front image: is there a thing of its name whose box overlaps by half?"""
    from sim.tasks.task import describe

    found = []
    for k, item in enumerate(sample.scene.objects):
        u, v, inside = sample.object_points[0, k]
        if inside < 0.5:
            continue
        width, height = sample.object_sizes[0, k]
        box = (u - width / 2, v - height / 2, u + width / 2, v + height / 2)
        found.append(any(t.name == describe(item) and overlap(t.box, box) >= OVERLAP for t in things))
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes: left, top, right, bottom."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return inside / max(sum(areas) - inside, 1e-9)


def _relations(world: Any, scene: Any) -> set[tuple[str, str, str]]:
    from sim.questions.question_items import VisibleScene
    from sim.tasks.task import describe

    return {(describe(a), direction, describe(b)) for a, direction, b in VisibleScene(world, None).relations}
