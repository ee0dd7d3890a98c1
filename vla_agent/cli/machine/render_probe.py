"""Render one scene and print how long it took, as JSON.  ``vla-agent doctor`` runs this in a process of its own:

a broken driver may abort the process, and ``MUJOCO_GL`` counts only before MuJoCo is imported.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

FRAMES = 10


def main() -> None:
    os.environ.setdefault("MUJOCO_GL", "egl")
    start = time.perf_counter()
    what, draw = _tabletop()
    views = draw()
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(FRAMES):
        draw()
    each = (time.perf_counter() - start) / FRAMES
    spread = float(views["front"].std())  # 0 where the image is blank
    print(json.dumps({"what": what, "first": first, "each": each, "spread": spread, "views": len(views)}))


def _tabletop() -> tuple[str, Callable[[], dict]]:
    """A scene of the first task and a function that renders it: ``{camera: (H, W, 3) uint8}``."""
    import numpy as np

    from sim.tasks.task import load_suite
    from sim.world.world import World

    world = World()
    family = next(iter(load_suite("tabletop").values()))
    world.reset(family.sample(np.random.default_rng(0)).scene)
    return "the tabletop", world.render


if __name__ == "__main__":
    main()
