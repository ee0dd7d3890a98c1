"""Control steps per second of the environment over a bare ``mj_step`` and render loop on the same scenes, interleaved.

Both render two 96 px cameras in every control period with the same renderer.  Each block executes the expert's actions
through `TabletopEnv.step` (clipping, inverse kinematics, queries, success, observation), then restores the block's
first state and applies the same recorded controls with ``mujoco.mj_step`` and `Cameras.render` alone.  Times are
processor times of this single-threaded process, so that other work on the machine does not count.
"""

from __future__ import annotations

import time
from typing import Any

NAME = "spine-env-rate"
TITLE = "environment with two 96 px cameras over a bare mj_step + render loop on the same scene"
TARGET = 0.85
UNIT = "ratio"
BETTER = "higher"
BLOCK = 30  # control steps
EPISODES = 6  # per family
WARM_UP = 3  # blocks that are left out


def run() -> dict[str, Any]:
    """Ratio of rates over all blocks; interval by bootstrap over the blocks."""
    import numpy as np

    from sim.env import TabletopEnv
    from sim.tasks.task import load_suite

    env = TabletopEnv()
    blocks: list[tuple[float, float, int]] = []
    for seed in range(EPISODES):
        for family in load_suite().values():
            env.set_task(family)
            env.reset(seed=seed)
            blocks += _episode(env)
    env.close()
    env_seconds, bare_seconds, steps = np.array(blocks[WARM_UP:]).T
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(steps), size=(2000, len(steps)))
    ratios = bare_seconds[drawn].sum(1) / env_seconds[drawn].sum(1)
    total = float(steps.sum())
    return {
        "value": float(bare_seconds.sum() / env_seconds.sum()),
        "n": int(total),
        "interval": [float(v) for v in np.percentile(ratios, [2.5, 97.5])],
        "seeds": list(range(EPISODES)),
        "rows": [
            {"loop": "environment", "control steps per processor second": total / float(env_seconds.sum())},
            {"loop": "bare mj_step + render", "control steps per processor second": total / float(bare_seconds.sum())},
        ],
        "notes": f"n counts control steps in {len(steps)} interleaved blocks; interval by bootstrap over blocks",
    }


def _episode(env: Any) -> list[tuple[float, float, int]]:
    """(environment's seconds, bare loop's seconds, steps) of each block of one expert episode.

    The time of the expert's own decisions is left out.
    """
    import mujoco
    import numpy as np

    from sim.experts.expert import Expert
    from sim.world.world import SUBSTEPS

    world = env.world
    model, data, cameras = world.model, world.data, world.cameras
    expert, rows, done = Expert(world, env.task), [], False
    while not done:
        first = world.snapshot()
        controls: list[np.ndarray] = []
        env_seconds = 0.0
        while len(controls) < BLOCK and not done:
            action = expert.action()
            began = time.process_time()
            _, _, terminated, truncated, _ = env.step(action)
            env_seconds += time.process_time() - began
            controls.append(data.ctrl.copy())
            done = terminated or truncated
        last = world.snapshot()
        world.restore(first)
        began = time.process_time()
        for control in controls:
            data.ctrl[:] = control
            mujoco.mj_step(model, data, SUBSTEPS)
            cameras.render(data)
        rows.append((env_seconds, time.process_time() - began, len(controls)))
        assert np.array_equal(data.qpos, last.physics[1 : 1 + model.nq]), "the bare loop must do the same physics"
        world.restore(last)
    return rows
