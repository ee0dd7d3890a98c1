"""Control steps per second of a whole evaluation with 2 workers over the environment's own ceiling; no policy compute.

The policy under test draws random chunks and needs no compute, but it observes: both cameras are rendered every 8
control steps.  The time of the evaluation includes everything: process start, worlds, episodes, tracking, the page with
its clips.  The ceiling is 2 processes that only reset, step and render the same episodes with the same actions and
observations, without their start.  Rounds of both alternate.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "spine-eval-rate"
TITLE = "whole evaluation with 2 workers over the environment's own ceiling, without the policy's compute"
TARGET = 0.7
UNIT = "ratio"
BETTER = "higher"
ROUNDS = 3
EPISODES = 10  # per family, the default of `vla-agent eval`
CEILING_EPISODES = 3  # of these, repeated by the ceiling
WORKERS = 2


class Chunks:
    """Random chunks (16, 7), of which 8 rows are executed; observes images."""

    execute = 8

    def reset(self, instruction: str, seed: int = 0) -> None:
        import numpy as np

        self.rng = np.random.default_rng(seed)

    def act(self, observation: Mapping[str, Any]) -> Any:
        import numpy as np

        return np.tile(self.rng.uniform(-0.02, 0.02, 7).astype(np.float32), (16, 1))


def load(name: str) -> Chunks:
    return Chunks()


def run() -> dict[str, Any]:
    """Ratio of the rates over all rounds; the interval is the range of the rounds' ratios."""
    rounds = [_round(EPISODES * k) for k in range(ROUNDS)]
    whole = sum(r["steps"] for r in rounds) / sum(r["evaluation s"] for r in rounds)
    ceiling = sum(r["ceiling steps"] for r in rounds) / sum(r["ceiling s"] for r in rounds)
    ratios = [r["ratio"] for r in rounds]
    return {
        "value": whole / ceiling,
        "n": sum(r["steps"] for r in rounds),
        "interval": [min(ratios), max(ratios)],
        "seeds": list(range(EPISODES * ROUNDS)),
        "rows": rounds,
        "notes": f"n counts control steps in {ROUNDS} rounds; interval is the range over rounds",
    }


def _round(seed: int) -> dict[str, Any]:
    import numpy as np

    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        settings = EvaluationSettings(
            "chunks",
            episodes=EPISODES,
            seed=seed,
            workers=WORKERS,
            controls="none",
            out=Path(folder) / "run",
            load=load,
        )
        report = evaluate(settings)
        seconds = time.perf_counter() - began
        with np.load(Path(folder) / "run" / "actions.npz") as stored:
            rows = [r for r in report["episodes"] if r["seed"] < seed + CEILING_EPISODES]
            keys = [f"{r['control']}/{r['task']}/{r['seed']}" for r in rows]
            episodes = [
                (r["task"], r["seed"], stored[f"{k}/actions"], stored[f"{k}/looks"])
                for r, k in zip(rows, keys, strict=True)
            ]
    steps = sum(r["steps"] for r in report["episodes"])
    ceiling_steps, ceiling_seconds = _ceiling(episodes)
    rate, ceiling = steps / seconds, ceiling_steps / ceiling_seconds
    return {
        "steps": steps,
        "evaluation s": seconds,
        "steps/s": rate,
        "ceiling steps": ceiling_steps,
        "ceiling s": ceiling_seconds,
        "ceiling steps/s": ceiling,
        "ratio": rate / ceiling,
    }


def _ceiling(episodes: list[tuple[str, int, Any, Any]]) -> tuple[int, float]:
    """Steps, and seconds from the moment when all processes are ready to the end of the last one."""
    from vla_agent.evaluation.play.worker_protocol import ONE_THREAD, environment_variables

    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(WORKERS + 1), context.Queue()
    with environment_variables(ONE_THREAD):
        parts = [episodes[i::WORKERS] for i in range(WORKERS)]
        processes = [context.Process(target=_bare, args=(part, ready, results)) for part in parts]
        for process in processes:
            process.start()
    ready.wait()
    began = time.perf_counter()
    ends = [results.get() for _ in processes]
    seconds = time.perf_counter() - began
    for process in processes:
        process.join()
    return sum(ends), seconds


def _bare(episodes: list[tuple[str, int, Any, Any]], ready: Any, results: Any) -> None:
    from sim.tasks.task import load_suite
    from sim.world.world import World

    world, families = World(), load_suite()
    scenes = [families[task].episode(seed).scene for task, seed, _, _ in episodes]
    world.reset(scenes[0])
    world.render()
    ready.wait()
    steps = 0
    for scene, (_, _, actions, looks) in zip(scenes, episodes, strict=True):
        world.reset(scene)
        due = set(looks.tolist())
        for i, action in enumerate(actions):
            if i in due:
                world.render()
            world.step(action)
        steps += len(actions)
    results.put(steps)
    world.close()
