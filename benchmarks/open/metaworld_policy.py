"""A policy of `policies/metaworld.yaml` for some tasks of Meta-World: its demonstrations, training and evaluation.

Everything is kept in ``runs/bench`` and resumed: demonstrations and training take hours of one core for all 50 tasks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TAUGHT = "metaworld@vla_agent.environments.adapters.metaworld_demonstrations:MetaWorldDemonstrations"
OPTIONS = (("size", "120"),)  # of 480: each pixel is the mean of 16
DEMONSTRATIONS, SEED = 50, 900_000  # of each task; first seed
FIRST = 7_000_000  # of the evaluation


@dataclass(frozen=True)
class MetaWorldPolicy:
    """A policy to be trained.

    Attributes:
        name: of its folder.
        tasks: of Meta-World.
        samples: of its training.
        workers: processes that collect and evaluate.
    """

    name: str
    tasks: Sequence[str]
    samples: int
    workers: int = 2

    @property
    def folder(self) -> Path:
        return Path(os.path.relpath(ROOT / "runs" / "bench" / self.name))

    def demonstrations(self) -> Path:
        """The folder of the demonstrations; collected where it is not there."""
        from vla_agent.data.collect.collection import Recipe, collect

        out = self.folder / "demonstrations"
        if not out.exists():
            recipe = Recipe(
                suite="tabletop",
                tasks=tuple(self.tasks),
                seed=SEED,
                noise=1.0,
                image_size=96,
                storage="images",
                env=TAUGHT,
                env_options=OPTIONS,
            )
            started = out.with_name(f"{out.name}.parts").exists()
            collect(recipe, out, DEMONSTRATIONS * len(self.tasks), self.workers, resume=started)
        return out

    def train(self) -> Path:
        """The policy's folder; a training that was stopped goes on."""
        from vla_agent.training.recipe import load_recipe
        from vla_agent.training.train import train

        out = self.folder / f"training-{self.samples}"
        if not (out / "policy" / "policy.json").exists():
            settings = (f"data.demonstrations=[{self.demonstrations()}]", f"end_to_end.samples={self.samples}")
            train(load_recipe(ROOT / "policies" / "metaworld.yaml", settings), out, resume=out.exists())
        return out / "policy"

    def evaluate(self, episodes: int, seed: int = FIRST) -> dict[str, Any]:
        """The report of ``episodes`` of each task, without controls; rendered as shipped."""
        from vla_agent.evaluation.evaluate import EvaluationSettings, evaluate

        policy = self.train()
        out = self.folder / f"evaluation-{self.samples}-{seed}"
        settings = EvaluationSettings(
            str(policy),
            tasks=tuple(self.tasks),
            episodes=episodes,
            seed=seed,
            controls="none",
            workers=self.workers,
            out=out,
            resume=out.exists(),
            env="metaworld",
            env_options=OPTIONS,
        )
        return evaluate(settings)

    def about(self) -> dict[str, Any]:
        """Parameters, and minutes of the training on one core."""
        training = json.loads((self.train() / "training.json").read_text())
        return {
            "parameters": training["parameters"]["in_all"],
            "training minutes": round(training["seconds"]["end_to_end"] / 60, 1),
        }
