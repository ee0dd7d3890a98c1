"""Generated images: answers agree with the scene, points with the cameras, the writer with itself."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from sim.questions import generate
from sim.questions.annotated_images import VIEWS, sample_annotated_images
from sim.questions.generate import write
from sim.questions.question_items import NUMBERS, VisibleScene, position_words
from sim.tasks.predicates import in_direction
from sim.tasks.scene_layout import HELD_OUT_PAIRS
from sim.tasks.task import load_suite
from sim.world.scene import COLOURS, SHAPES, Button, Object, Scene, Start, Zone
from sim.world.world import World
from vla_agent.errors import DatasetError, OptionError

SCENES = 120


@pytest.fixture(scope="module")
def world():
    world = World((48, 48))
    yield world
    world.close()


@pytest.fixture(scope="module")
def samples(world):
    return [sample_annotated_images(world, np.random.default_rng(seed)) for seed in range(SCENES)]


def by_kind(samples) -> dict[str, list]:
    found = defaultdict(list)
    for p in samples:
        for item in p.items:
            found[item.kind].append((p.scene, item))
    return found


def named(scene: Scene, text: str) -> list[Object]:
    """Objects that a text names, in its order."""
    found = [(text.find(f"{o.colour} {o.shape}"), o) for o in scene.objects]
    return [o for at, o in sorted(found, key=lambda pair: pair[0]) if at >= 0]


def test_every_kind_occurs_and_yes_and_no_are_balanced(samples):
    kinds = by_kind(samples)
    assert set(kinds) == {
        *("instruction", "where", "colour", "shape", "exists", "relation", "beside", "count", "drawer", "gripper"),
        "caption",
    }
    assert 4.5 <= sum(len(p.items) for p in samples) / SCENES <= 6.5
    for kind in ("relation", "exists"):
        answers = Counter(item.answer for _, item in kinds[kind])
        assert set(answers) == {"yes", "no"} and min(answers.values()) > 0.25 * sum(answers.values())
    assert any(item.answer != "nothing" for _, item in kinds["gripper"])


def test_answers_agree_with_the_scene(samples):
    kinds = by_kind(samples)
    for scene, item in kinds["colour"]:
        (shape,) = [s for s in SHAPES if s in item.prompt.replace("?", "").split()]
        assert [o.colour for o in scene.objects if o.shape == shape] == [item.answer]
    for scene, item in kinds["count"]:
        colour = next((c for c in COLOURS if c in item.prompt), None)
        assert item.answer == NUMBERS[sum(colour in (None, o.colour) for o in scene.objects)]
    for scene, item in kinds["exists"]:
        assert bool(named(scene, item.prompt)) == (item.answer == "yes")
    for scene, item in kinds["relation"]:
        a, b = named(scene, item.prompt)
        direction = next(d for d in ("left of", "right of", "in front of") if d in item.prompt)
        dx, dy = (p - q for p, q in zip(a.xy, b.xy, strict=True))
        if abs(abs(dx) - abs(dy)) > 0.01:  # settling may decide what lies on the border
            assert in_direction(dx, dy, direction) == (item.answer == "yes")


def test_mentions_are_what_the_prompt_names(samples):
    """Every colour and shape mentioned is in the prompt, and what an instruction handles comes first."""
    for p in samples:
        for item in p.items:
            for colour, shape in item.mentions:
                assert f"{colour} {shape}".strip() in item.prompt
            if item.kind == "instruction":
                said = [(o.colour, o.shape) for o in named(p.scene, item.prompt)]
                assert sorted(said) == sorted(pair for pair in item.mentions if pair[1])
                first = item.answer.split()[:2]
                assert not said or item.mentions[0] == tuple(first)
            elif item.kind in ("colour", "shape", "exists", "relation", "beside"):
                assert item.mentions


def test_points_are_projections_and_objects_are_where_the_scene_says(world, samples):
    for p in samples[:20]:
        assert p.points.shape == (len(p.items), 2, 2, 3) and p.points.dtype == np.float32
        for item, points in zip(p.items, p.points, strict=True):
            assert np.isnan(points).all() if item.located is None else np.isfinite(points).all()
            if item.kind == "where" and item.answer.split()[0] in ("left", "middle", "right"):
                for o in named(p.scene, item.prompt):
                    assert np.allclose(item.located[:, :2], o.xy, atol=0.01)
                    assert position_words(item.located[0]) == item.answer


def test_a_point_lands_on_its_colour(world):
    """The only blue thing in the image is where its point says that it is."""
    scene = Scene(
        (Object("target", "cube", "blue", (0.45, 0.08)), Object("distractor1", "cube", "red", (0.55, -0.08))),
        tuple(Button("black", (0.7, y)) for y in (-0.13, 0.0, 0.13)),
        (Zone("white", (0.33, -0.07)), Zone("white", (0.33, 0.08))),
        start=Start((0.5, -0.2, 0.3)),
    )
    world.reset(scene)
    image = world.render()["front"].astype(int)
    v, u = np.nonzero((image[..., 2] > 120) & (image[..., 0] < 60) & (image[..., 1] < 110))
    point = world.project("front", VisibleScene(world, None).world.object_position("target")[None])[0]
    assert abs(u.mean() + 0.5 - point[0] * 48) < 1.5 and abs(v.mean() + 0.5 - point[1] * 48) < 1.5


def test_instructions_are_training_wordings_of_training_pairs(samples):
    held_out = {f"{c} {s}" for c, s in HELD_OUT_PAIRS}
    spoken = {w for f in load_suite().values() for w in f.wordings.held_out if "{" not in w}
    for p in samples:
        for item in p.items:
            text = f"{item.prompt} {item.answer}"
            assert not any(name in text for name in held_out) and item.prompt not in spoken
        instructions = [i for i in p.items if i.kind == "instruction"]
        assert 1 <= len(instructions) <= 3 and all(i.located is not None for i in instructions)


def test_same_seed_same_images(world, samples):
    again = sample_annotated_images(world, np.random.default_rng(3))
    assert all(np.array_equal(again.images[v], samples[3].images[v]) for v in VIEWS)
    assert np.array_equal(again.points, samples[3].points, equal_nan=True)
    assert [(i.prompt, i.answer) for i in again.items] == [(i.prompt, i.answer) for i in samples[3].items]


def test_the_arm_is_where_an_episode_starts(world):
    for seed in range(40, 46):
        sample = sample_annotated_images(world, np.random.default_rng(seed), at_start=True)
        assert np.abs(world.ee_position - sample.scene.start.xyz).max() < 0.01
        present = sample.object_classes[:, 0] >= 0
        assert (sample.object_places[present] >= 0).all(), "the gripper holds nothing"


def test_writer(tmp_path, monkeypatch, world, samples):
    """Shards hold what the sampler gives; a lost shard is made again alone; other images are never mixed in."""
    monkeypatch.setattr(generate, "SHARD", 4)
    monkeypatch.setattr(generate, "_world", world)
    monkeypatch.setattr(World, "close", lambda self: None)
    folder = tmp_path / "samples"
    assert write(folder, scenes=6, seed=0, image_size=(48, 48)) == 6
    assert sorted(f.name for f in folder.iterdir()) == [
        "meta.json",
        *(f"shard-0000{k}.{end}" for k in (0, 1) for end in ("jsonl", "npz")),
    ]
    with np.load(folder / "shard-00001.npz", allow_pickle=False) as data:
        assert data["images"].shape == (2, 2, 48, 48, 3) and data["images"].dtype == np.uint8
        lines = [json.loads(line) for line in (folder / "shard-00001.jsonl").read_text().splitlines()]
        assert len(lines) == len(data["picture"]) == len(data["points"]) == len(data["located"])
        assert np.array_equal(data["images"][1, 0], samples[5].images["front"])
        rows = data["picture"] == 1
        assert np.array_equal(data["points"][rows], samples[5].points, equal_nan=True)
        assert data["located"].shape[1:] == (2, 3) and data["points"].dtype == np.float32
        names = [
            (list(COLOURS)[c] if c >= 0 else "", SHAPES[s] if s >= 0 else "") for s, c in data["asked"][rows][:, 0]
        ]
        assert names == [i.mentions[0] if i.mentions else ("", "") for i in samples[5].items]
    assert [line["prompt"] for line in lines if line["seed"] == 5] == [i.prompt for i in samples[5].items]
    before = (folder / "shard-00001.npz").read_bytes()
    (folder / "shard-00001.npz").unlink()
    assert write(folder, scenes=6, seed=0, image_size=(48, 48)) == 2
    assert (folder / "shard-00001.npz").read_bytes() == before
    with pytest.raises(DatasetError, match="other images"):
        write(folder, scenes=6, seed=7, image_size=(48, 48))
    with pytest.raises(OptionError, match="--scenes"):
        write(tmp_path / "none", scenes=0, seed=0)
    assert not (tmp_path / "none").exists()
