"""Generated vision-language data: pictures of the tabletop with instructions, questions, answers and points.

    python -m sim.questions --scenes 20000 --seed 2000000 --workers 2 -o datasets/questions

writes shards ``shard-00000.npz`` (``images`` (n, V, H, W, 3) uint8; per item ``picture`` its row in ``images``,
``points`` (V, R, 3) = u, v, inside and ``located`` (R, 3) metres, NaN where the item points at nothing, and ``asked``
(2, 2), shape and colour of the two things that its prompt names, -1 for what it does not say; per picture
``named`` and ``named_points``, what every object is and where it is seen) with
``shard-00000.jsonl`` beside it (per item kind, seed, prompt, answer), and ``meta.json``.  Views: front, wrist.  Roles:
target, goal.  The picture of seed s is the same whatever the shard; finished shards are kept when run again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from sim.experts.expert import Expert
from sim.perturbations.appearance import APPEARANCE_AXES, check_appearance_axes, domain_randomisation
from sim.questions.question_items import QUESTIONS, Item, View, asked_by, goal_words
from sim.tasks.task import TaskInstance, load_suite
from sim.world.objects import half_extents, stackable_top
from sim.world.scene import COLOURS, MAX_OBJECTS, SHAPES, Object, Scene, Start
from sim.world.world import World
from vla_agent.errors import DatasetError, OptionError, VlaAgentError

VIEWS = ("front", "wrist")
SHARD = 500  # scenes in a shard
QUESTIONS_EACH = 3  # beside three instructions
# Distance between the finger pads in metres, by gripper position in tenths.
PADS = (0.0854, 0.0781, 0.0704, 0.0624, 0.0540, 0.0453, 0.0364, 0.0274, 0.0182, 0.0090, 0.0)
SQUEEZE = 0.0015  # by which the pads stand closer than the object is wide, metres
# Half widths where the pads meet the shapes that are not equally wide all over, metres.
WAISTS = {"cup": 0.0225, "pear": 0.022, "star": 0.022}
VERSION = 3


@dataclass(frozen=True)
class Picture:
    """Both cameras' pictures and what is asked of them.

    images: camera -> (H, W, 3) uint8.
    points: (items, 2, 2, 3) float32 [item, view, role] = u, v, inside; NaN where the item points at nothing.
    """

    images: dict[str, np.ndarray]
    items: tuple[Item, ...]
    points: np.ndarray
    scene: Scene
    named: np.ndarray  # (MAX_OBJECTS, 2) int8: indices in SHAPES and COLOURS of each object, -1 where there is none
    named_points: np.ndarray  # (V, MAX_OBJECTS, 3) float32: u, v, inside of their centres, NaN where there is none


def sample_pictures(world: World, rng: np.random.Generator, looks: Sequence[str] = ()) -> Picture:
    """A scene of any family (training wordings and pairs), the arm somewhere, and about six items.

    ``looks`` are varied as `sim.perturbations.appearance.domain_randomisation` says.
    """
    families = list(load_suite("tabletop").values())
    family = families[rng.integers(len(families))]
    task = family.sample(rng, "seen")
    scene = _rearranged(task.scene, rng)
    start, lifted = _pose(scene, rng)
    world.reset(replace(scene, start=start), domain_randomisation(task, looks, rng) if looks else None)
    held = lifted if lifted and _hold(world, lifted, rng) else None
    view = View(world, held)
    items = [_instruction(world, t, held) for t in _instances(scene, task, rng)]
    functions = list(QUESTIONS)
    weights = np.array(list(QUESTIONS.values()))
    for k in rng.choice(len(functions), QUESTIONS_EACH, replace=False, p=weights / weights.sum()):
        item = functions[k](view, rng)
        if item is not None:
            items.append(item)
    return Picture(world.render(), tuple(items), _project(world, items), scene, *_named(world, scene))


def _instances(scene: Scene, task: TaskInstance, rng: np.random.Generator) -> list[TaskInstance]:
    """Three tasks in one scene: the family's own twice, with other words where it can be, and another's."""
    families = load_suite("tabletop")
    other = families[list(families)[rng.integers(len(families))]]
    found: list[TaskInstance] = []
    for family, number in ((families[task.family], 2), (other, 1)):
        fits = list(family.bindings_in(scene))
        for k in rng.permutation(len(fits))[:number]:
            found.append(family.instance(scene, fits[k], rng))
    return found


def _instruction(world: World, task: TaskInstance, held: str | None) -> Item:
    """The instruction with its sub-goal: what to handle now and where it goes."""
    objects = {o.name: o for o in task.scene.objects}
    located = np.asarray(Expert(world, task).subgoal(), np.float32)
    return Item("instruction", task.instruction, goal_words(task.goal, objects), located, asked_by(task))


def _rearranged(scene: Scene, rng: np.random.Generator) -> Scene:
    """Some scenes as they are in the middle of a task: a thing in the tray, in the drawer, on another or in a zone."""
    kind = rng.random()
    k = int(rng.integers(len(scene.objects)))
    o = scene.objects[k]
    jitter = rng.uniform(-0.035, 0.035, 2)
    if kind < 0.2:
        moved = replace(o, xy=tuple(np.array(scene.tray_xy) + jitter), on="tray")
    elif kind < 0.28 and scene.drawer_open > 0.9:
        x, y = scene.cabinet_xy
        moved = replace(o, xy=(x + 0.134 * scene.drawer_open + jitter[0] / 2, y + jitter[1] / 2), on="drawer")
    elif kind < 0.34:
        below = [b for b in scene.objects if b is not o and stackable_top(b.shape)]
        if not below or o.shape in ("ball", "pear"):
            return scene
        base = below[rng.integers(len(below))]
        moved = replace(o, xy=tuple(np.array(base.xy) + jitter / 7), on=base.name)
    elif kind < 0.40:
        zone = scene.zones[rng.integers(len(scene.zones))]
        moved = replace(o, xy=tuple(np.array(zone.xy) + jitter))
    else:
        return scene
    return replace(scene, objects=(*scene.objects[:k], moved, *scene.objects[k + 1 :]))


def _pose(scene: Scene, rng: np.random.Generator) -> tuple[Start, str | None]:
    """Where an episode could bring the arm, and which object is then to be put between the fingers, if any."""
    yaw = float(rng.uniform(-0.2, 0.2) if rng.random() < 0.6 else rng.uniform(-1.4, 1.4))
    gripper = 0.0 if rng.random() < 0.75 else float(rng.uniform(0.0, 0.8))
    kind = rng.random()
    o = scene.objects[rng.integers(len(scene.objects))]
    half = half_extents(o.shape)
    xyz = rng.uniform((0.33, -0.28, 0.10), (0.68, 0.30, 0.32))
    lifted = None
    if kind < 0.20:  # over a fixture
        cabinet, opening = scene.cabinet_xy, 0.13 * scene.drawer_open
        drawer, handle = (
            (cabinet[0] + 0.004 + opening, cabinet[1], 0.05),
            (cabinet[0] + 0.102 + opening, cabinet[1], 0.045),
        )
        fixtures = [(*scene.tray_xy, 0.03), drawer, handle, *((*b.xy, 0.03) for b in scene.buttons)]
        xyz = np.array(fixtures[rng.integers(len(fixtures))]) + (*rng.normal(0, 0.025, 2), rng.uniform(0.01, 0.14))
    elif kind < 0.55 and o.on == "table":  # over an object, or around it
        height = float(rng.uniform(0.0, 0.14))
        low = height < 0.05 + 2 * half[2] - 0.02
        spread = 0.006 if low else 0.025
        xyz = np.array((*o.xy, max(0.015, 2 * half[2] - 0.03))) + (*rng.normal(0, spread, 2), height)
        if low:
            yaw, gripper = _grasp_yaw(o, yaw), 0.0
    elif kind > 0.80 and o.on in ("table", "tray") and all(b.on != o.name for b in scene.objects):
        across = 2 * WAISTS.get(o.shape, min(half[:2])) - SQUEEZE
        lifted, gripper = o.name, float(np.interp(-across, [-pads for pads in PADS], np.linspace(0, 1, 11)))
        xyz = xyz + (0, 0, half[2] - 0.02)
    return Start((float(xyz[0]), float(xyz[1]), float(xyz[2])), yaw, gripper), lifted


def _grasp_yaw(o: Object, yaw: float) -> float:
    """A yaw at which open fingers fit around the object."""
    if o.shape == "block":
        return o.yaw + (np.pi / 2 if o.yaw < 0 else -np.pi / 2)
    return o.yaw if o.shape in ("cube", "star") else yaw


def _hold(world: World, name: str, rng: np.random.Generator) -> bool:
    """Put the object between the fingers; whether both pads touch it.  It stays where it was if they do not."""
    o, before = world.object(name), world.object_position(name)
    half = half_extents(o.shape)
    below = max(0.0, float(half[2]) - 0.035) + float(rng.uniform(-0.004, 0.006))
    turn = world.ee_yaw + (np.pi / 2 if o.shape == "block" else 0.0)
    world.move_object(name, world.ee_position - (0, 0, below), turn)
    if world.held(name):
        return True
    world.move_object(name, before, o.yaw)
    return False


def _project(world: World, items: list[Item]) -> np.ndarray:
    """(items, V, R, 3) float32."""
    points = np.full((len(items), len(VIEWS), 2, 3), np.nan, np.float32)
    pointing = [k for k, item in enumerate(items) if item.located is not None]
    if pointing:
        located = np.concatenate([items[k].located for k in pointing])
        for v, camera in enumerate(VIEWS):
            points[pointing, v] = world.project(camera, located).reshape(-1, 2, 3)
    return points


def _named(world: World, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What every object is and where its centre lies in the pictures; shapes in `Picture`."""
    names = np.full((MAX_OBJECTS, 2), -1, np.int8)
    points = np.full((len(VIEWS), MAX_OBJECTS, 3), np.nan, np.float32)
    colours = list(COLOURS)
    for k, o in enumerate(scene.objects):
        names[k] = SHAPES.index(o.shape), colours.index(o.colour)
    centres = np.array([world.object_position(o.name) for o in scene.objects])
    for v, camera in enumerate(VIEWS):
        points[v, : len(centres)] = world.project(camera, centres)
    return names, points


def _asked(item: Item) -> np.ndarray:
    """(2, 2) int8: shape and colour of the first two things that the prompt names, -1 where it does not say."""
    asked = np.full((2, 2), -1, np.int8)
    for row, (colour, shape) in zip(asked, item.asked, strict=False):
        row[:] = SHAPES.index(shape) if shape else -1, list(COLOURS).index(colour) if colour else -1
    return asked


# -- writing -----------------------------------------------------------------------------------------------------


def write_shard(world: World, folder: Path, number: int, seeds: range, looks: Sequence[str] = ()) -> int:
    """Render and write one shard, aside first; returns its number of items."""
    images = np.empty((len(seeds), len(VIEWS), *world.image_size, 3), np.uint8)
    picture, points, located, asked, lines, named, named_points = [], [], [], [], [], [], []
    nothing = np.full((2, 3), np.nan, np.float32)
    for row, seed in enumerate(seeds):
        p = sample_pictures(world, np.random.default_rng(seed), looks)
        images[row] = [p.images[view] for view in VIEWS]
        picture += [row] * len(p.items)
        points.append(p.points)
        named.append(p.named)
        named_points.append(p.named_points)
        for item in p.items:
            located.append(nothing if item.located is None else item.located)
            asked.append(_asked(item))
            lines.append(json.dumps({"kind": item.kind, "seed": seed, "prompt": item.prompt, "answer": item.answer}))
    text, data = folder / f"shard-{number:05d}.jsonl", folder / f"shard-{number:05d}.npz"
    aside = data.with_suffix(".tmp")
    aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(aside, text)
    with aside.open("wb") as file:
        np.savez(
            file,
            images=images,
            picture=np.array(picture),
            points=np.concatenate(points),
            located=np.array(located),
            asked=np.array(asked),
            named=np.array(named),
            named_points=np.array(named_points),
        )
    os.replace(aside, data)
    return len(lines)


_world: World | None = None


def _work(job: tuple[Path, int, range, tuple[str, ...], tuple[int, int]]) -> tuple[int, int]:
    """One shard in a worker process."""
    global _world
    folder, number, seeds, looks, size = job
    if _world is None:
        _world = World(size)
    return len(seeds), write_shard(_world, folder, number, seeds, looks)


def write(
    folder: Path,
    scenes: int,
    seed: int,
    workers: int = 1,
    image_size: tuple[int, int] = (96, 96),
    looks: tuple[str, ...] = (),
) -> int:
    """Write ``scenes`` pictures of the seeds from ``seed`` on; returns the number of scenes rendered now.

    Raises:
        OptionError: a senseless number, or no such look.
        DatasetError: the folder holds other pictures (other seeds, size, looks or version).
    """
    for name, value, least in (("scenes", scenes, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if value < least:
            raise OptionError(
                "a number is too small", key=f"--{name}", expected=f"at least {least}", found=value, remedy="raise it"
            )
    check_appearance_axes(looks)
    folder.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Any] = {
        "version": VERSION,
        "scenes": scenes,
        "seed": seed,
        "image_size": list(image_size),
        "shard": SHARD,
    }
    meta |= {"vary": list(looks)} if looks else {}
    file = folder / "meta.json"
    if file.exists():
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            found = f"no JSON: {error}"
        if found != meta:
            raise DatasetError(
                "the folder holds other pictures", file=file, expected=meta, found=found, remedy="name another folder"
            )
    else:
        aside = folder / "meta.tmp"
        aside.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, file)
    jobs = [
        (folder, k, range(seed + k * SHARD, seed + min((k + 1) * SHARD, scenes)), looks, image_size)
        for k in range(-(-scenes // SHARD))
        if not (folder / f"shard-{k:05d}.npz").exists()
    ]
    total, done, items, start = sum(len(j[2]) for j in jobs), 0, 0, time.monotonic()
    pool = get_context("spawn").Pool(min(workers, len(jobs))) if workers > 1 and len(jobs) > 1 else None
    results: Iterator[tuple[int, int]] = pool.imap_unordered(_work, jobs) if pool else map(_work, jobs)
    try:
        for scenes_done, items_done in results:
            done, items = done + scenes_done, items + items_done
            rate = done / (time.monotonic() - start)
            left = (total - done) / rate
            print(f"{done}/{total} scenes, {items} items, {rate:.0f} scenes/s, {left:.0f} s left", flush=True)
    finally:
        if pool is not None:
            pool.terminate()
            pool.join()
        elif _world is not None:
            _world.close()
    return done


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sim.questions", description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=20_000, help="pictures (pairs of views), default %(default)s")
    parser.add_argument("--seed", type=int, default=2_000_000, help="first seed, default %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes, default %(default)s")
    parser.add_argument("--size", type=int, default=96, help="height and width in pixels, default %(default)s")
    parser.add_argument(
        "--vary", default="", metavar="A,B", help=f"vary the look of each picture: some of {', '.join(APPEARANCE_AXES)}"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    looks = tuple(name.strip() for name in args.vary.split(",") if name.strip())
    try:
        write(args.out, args.scenes, args.seed, args.workers, (args.size, args.size), looks)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last whole shard", file=sys.stderr)
        return 130
    return 0
