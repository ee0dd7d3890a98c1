"""All heads on the same backbone, data, samples and seeds: success, latency, parameters."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.evaluations import POLICY, ROOT, WORKERS
from vla_agent.files.hashing import hash_file

NAME = "policy-heads"
TITLE = "success of the flow head less that of action tokens, same backbone, data, samples, seeds; rows: all heads"
TARGET = 0.0
UNIT = "of episodes"
BETTER = "higher"
SAMPLES = 100_000
EPISODES = 20  # per family
SEED = 900
CHUNKS = 100
SIZES = {"width": 192, "depth": 4, "heads": 4, "patch": 4}
TRAINED: dict[str, dict[str, Any]] = {
    "flow": {"objective": "flow", "serve_steps": 6},
    "ddpm": {"objective": "ddpm", "serve_steps": 10},
    "ddpm-null": {"objective": "ddpm", "serve_steps": 10, "condition_dropout": 0.1},
    "tokens": {"kind": "tokens", "bins": 256},
    "regression": {"kind": "regression"},
}
SERVED: dict[str, tuple[str, dict[str, Any]]] = {  # evaluated: name of the trained weights, changes for serving
    "flow, Euler 6": ("flow", {}),
    "ddpm, DDIM 10": ("ddpm", {}),
    "ddpm, DPM-Solver++ 5": ("ddpm", {"sampler": "dpmsolver++", "serve_steps": 5}),
    "ddpm, DDIM 10, guidance 1.5": ("ddpm-null", {"guidance": 1.5}),
    "tokens, 256 bins": ("tokens", {}),
    "L1 regression": ("regression", {}),
}
DEMONSTRATIONS = ("datasets/tabletop", "datasets/tabletop-hard")  # as policies/tabletop-nano.yaml collects them first
FIRST, SECOND = "flow, Euler 6", "tokens, 256 bins"


def run() -> dict[str, Any]:
    demonstrations = [os.path.relpath(ROOT / folder) for folder in DEMONSTRATIONS]
    return compare(_folder(), os.path.relpath(POLICY), demonstrations, SAMPLES, EPISODES)


def compare(
    folder: Path, backbone_of: str, demonstrations: list[str], samples: int, episodes: int, tasks: str | None = None
) -> dict[str, Any]:
    """Train each head on a policy's backbone and evaluate each serving setting; finished parts are not repeated."""
    from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate
    from vla_agent.evaluation.success_statistics import paired_difference

    for name in TRAINED:
        _train(folder, name, backbone_of, demonstrations, samples)
    rows, outcomes = [], {}
    for title, (name, changes) in SERVED.items():
        slug = title.replace(", ", "-").replace(" ", "-").replace("+", "p")
        policy = _serving(folder / name / "policy", folder / "serving" / slug, changes)
        out = folder / "eval" / slug
        settings = EvaluationSettings(
            os.path.relpath(policy),
            tasks=tasks,
            episodes=episodes,
            seed=SEED,
            workers=WORKERS,
            controls="none",
            out=out,
            resume=out.exists(),
        )
        report = evaluate(settings)
        outcomes[title] = {(e["task"], e["seed"]): e["success"] for e in report["episodes"]}
        counts = report["summary"]["controls"]["policy"]
        rows.append(
            {
                "head": title,
                "k": counts["k"],
                "n": counts["n"],
                "success": counts["success"],
                "low": counts["interval"][0],
                "high": counts["interval"][1],
                **_cost(policy),
            }
        )
        print(rows[-1], flush=True)
    for row in rows:
        keys = list(outcomes[SECOND])
        against = paired_difference([outcomes[row["head"]][k] for k in keys], [outcomes[SECOND][k] for k in keys])
        row["over_tokens"], (row["over_low"], row["over_high"]) = against["difference"], against["interval"]
    main = next(row for row in rows if row["head"] == FIRST)
    return {
        "value": main["over_tokens"],
        "n": main["n"],
        "interval": [main["over_low"], main["over_high"]],
        "seeds": f"{SEED} to {SEED + episodes - 1} of each family, the same for each head",
        "rows": rows,
        "passed": main["over_low"] > 0,
        "notes": f"{samples} samples of the head's stage each, seed 0, frozen backbone of {backbone_of}, {SIZES}; "
        "passed where the paired interval lies above zero; CogACT claims 35 points",
    }


def _folder() -> Path:
    digest = hash_file(POLICY / "policy.json")[:12]
    return Path(os.path.relpath(ROOT / "runs" / "bench" / f"{digest}-heads"))


def _train(folder: Path, name: str, backbone_of: str, demonstrations: list[str], samples: int) -> None:
    """One head's training, resumed where it was stopped; the features are computed for the first head only."""
    from vla_agent.training.recipe import Recipe
    from vla_agent.training.train import train

    run, first = folder / name, folder / next(iter(TRAINED))
    if (run / "policy" / "policy.json").is_file():
        return
    if run != first:
        run.mkdir(parents=True, exist_ok=True)
        if not (run / "features").exists():
            (run / "features").symlink_to((first / "features").resolve(), target_is_directory=True)
    recipe = Recipe.model_validate(
        {
            "name": name,
            "data": {"demonstrations": demonstrations},
            "start_from": backbone_of,
            "fresh_head": True,  # also where it has the sizes of the policy's own
            "head": {**SIZES, **TRAINED[name]},
            "train_head": {"samples": samples, "batch": 64, "learning_rate": 8e-4, "warmup_steps": 200}
            | {"frame_stride": 2},
        }
    )
    train(recipe, run, resume=(run / "recipe.yaml").is_file())


def _serving(trained: Path, folder: Path, changes: dict[str, Any]) -> Path:
    """The trained policy with other serving settings, saved in its own folder."""
    from vla_agent.policy.loading import load_policy

    if not changes:
        return trained
    if not (folder / "policy.json").is_file():
        policy = load_policy(trained)
        policy.head.config = policy.head.config.model_copy(update=changes)
        policy.save(folder)
    return folder


def _cost(path: Path) -> dict[str, Any]:
    """Median latency of a chunk on one thread, and the head's parameters."""
    import torch

    from vla_agent.policy.loading import load_policy

    torch.set_num_threads(1)
    policy = load_policy(path)
    cameras = policy.contract.cameras
    rng = np.random.default_rng(0)
    observation = {
        "images": {c.name: rng.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in cameras},
        "state": policy.state_normaliser.shift.numpy(),
    }
    policy.reset("put the red mug in the tray")
    milliseconds = []
    for _ in range(CHUNKS):
        start = time.perf_counter()
        policy.act(observation)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return {
        "latency_ms": float(np.median(milliseconds[CHUNKS // 10 :])),
        "parameters_m": policy.parameter_counts()["head"] / 1e6,
    }
