"""Generated vision-language data: images of the tabletop with instructions, questions, answers and points.

    python -m sim.questions --scenes 20000 --seed 2000000 --workers 2 -o datasets/questions

writes ``meta.json`` and shards.  ``shard-00000.npz`` holds, for n scenes with V views (front, wrist) and R roles
(target, goal):

- ``images`` (n, V, H, W, 3) uint8;
- ``named`` (n, MAX_OBJECTS, 2), shape and colour of every object, and ``named_points`` (n, V, MAX_OBJECTS, 3) = u, v,
  inside of its centre, ``named_sizes`` (n, V, MAX_OBJECTS, 2) = width and height of its box, ``named_positions``
  (n, MAX_OBJECTS, 3) metres, ``named_places`` (n, MAX_OBJECTS) on table, in tray, in drawer, -1 in the gripper;
- ``fixtures`` (n, MAX_FIXTURES, 2), kind and colour of buttons and zones, ``fixture_points`` (n, V, MAX_FIXTURES, 3);
- per item: ``picture``, its row in ``images``; ``points`` (V, R, 3) = u, v, inside, and ``located`` (R, 3) metres, NaN
  where it points at nothing; ``asked`` (2, 2), shape and colour of the two objects that its prompt mentions, -1 for
  what it leaves open.

``shard-00000.jsonl`` has one line per item: kind, seed, prompt, answer.  The images of a seed are the same whatever the
shard.  Run again, the command keeps the finished shards.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sim.perturbations.appearance import APPEARANCE_AXES, check_appearance_axes
from sim.questions.shards import shard_file, write_shard
from sim.world.world import World
from vla_agent.errors import DatasetError, OptionError, VlaAgentError
from vla_agent.files.write_aside import write_text

SHARD = 500  # scenes per shard
VERSION = 5  # of the file format and of what the scenes show
Job = tuple[Path, int, range, tuple[str, ...], bool, tuple[int, int]]  # folder, shard, seeds, axes, at start, size

_world: World | None = None


def _work(job: Job) -> tuple[int, int]:
    """Write one shard in a worker process; returns its numbers of scenes and items."""
    global _world
    folder, number, seeds, vary, at_start, size = job
    if _world is None:
        _world = World(size)
    return len(seeds), write_shard(_world, folder, number, seeds, vary, at_start)


def write(
    folder: Path,
    scenes: int,
    seed: int,
    workers: int = 1,
    image_size: tuple[int, int] = (96, 96),
    vary: tuple[str, ...] = (),
    report: Callable[[int], None] | None = None,
    at_start: bool = False,
) -> int:
    """Write the images of ``scenes`` seeds from ``seed`` on; returns the number of scenes rendered now.

    Args:
        report: called with the number of scenes that are there; left out: lines of progress are printed.
        at_start: the arm is where an episode starts; else anywhere in one.

    Raises:
        OptionError: a number out of range, or an unknown appearance axis.
        DatasetError: the folder holds other images (other seeds, size, axes or version).
    """
    for name, value, least in (("scenes", scenes, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if value < least:
            raise OptionError(
                "a number is too small", key=f"--{name}", expected=f"at least {least}", found=value, remedy="raise it"
            )
    check_appearance_axes(vary)
    meta: dict[str, Any] = {
        "version": VERSION,
        "scenes": scenes,
        "seed": seed,
        "image_size": list(image_size),
        "shard": SHARD,
    }
    more = ({"vary": list(vary)} if vary else {}) | ({"at_start": True} if at_start else {})
    _begin_folder(folder, meta | more)
    jobs = [
        (folder, k, range(seed + k * SHARD, seed + min((k + 1) * SHARD, scenes)), vary, at_start, image_size)
        for k in range(-(-scenes // SHARD))
        if not shard_file(folder, k).exists()
    ]
    rendered = sum(len(seeds) for _, _, seeds, *_ in jobs)
    return _run(jobs, workers, (lambda done: report(scenes - rendered + done)) if report else None)


def _begin_folder(folder: Path, meta: dict[str, Any]) -> None:
    """Write ``meta.json``, or check that the folder's own is the same."""
    file = folder / "meta.json"
    if not file.exists():
        write_text(file, json.dumps(meta, indent=1) + "\n")
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        found = f"no JSON: {error}"
    if found != meta:
        raise DatasetError(
            "the folder holds other images", file=file, expected=meta, found=found, remedy="name another folder"
        )


def _run(jobs: list[Job], workers: int, report: Callable[[int], None] | None) -> int:
    """Write the shards, and report after each; returns the number of scenes."""
    total, done, items, start = sum(len(seeds) for _, _, seeds, *_ in jobs), 0, 0, time.monotonic()
    pool = get_context("spawn").Pool(min(workers, len(jobs))) if workers > 1 and len(jobs) > 1 else None
    results: Iterator[tuple[int, int]] = pool.imap_unordered(_work, jobs) if pool else map(_work, jobs)
    try:
        for scenes_done, items_done in results:
            done, items = done + scenes_done, items + items_done
            if report:
                report(done)
                continue
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
    """The command line of ``python -m sim.questions``; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m sim.questions", description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=20_000, help="scenes, each seen by both cameras (%(default)s)")
    parser.add_argument("--seed", type=int, default=2_000_000, help="first seed (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--size", type=int, default=96, help="height and width in pixels (%(default)s)")
    axes = ", ".join(APPEARANCE_AXES)
    parser.add_argument("--vary", default="", metavar="A,B", help=f"vary the appearance of each scene: some of {axes}")
    parser.add_argument("--at-start", action="store_true", help="the arm is where an episode starts, not within one")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    vary = tuple(name.strip() for name in args.vary.split(",") if name.strip())
    try:
        size = (args.size, args.size)
        write(args.out, args.scenes, args.seed, args.workers, size, vary, at_start=args.at_start)
    except VlaAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues after the last complete shard", file=sys.stderr)
        return 130
    return 0
