"""The unfinished collection: one file per attempted seed, and what is still to be attempted.

``DIR.parts/`` lies beside the dataset-to-be and holds ``recipe.json``, ``<task>-<seed>.npz`` for recorded episodes and
``<task>-<seed>.json`` for attempts that gave none.  Files appear whole (written aside, renamed), so that whatever is
there when a process dies is good.

Seeds of a task are attempted in order and only while recorded and running ones together are fewer than wanted.  So the
attempts of a task are always the shortest run of seeds with the wanted number of successes: the dataset depends neither
on the number of workers nor on interruptions.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from vla_agent.data.lerobot.dataset_files import write_json
from vla_agent.data.lerobot.episode import EncodedEpisode, load_part
from vla_agent.errors import DatasetError


class Parts:
    """The folder of parts of a collection.

    Args:
        dataset: the dataset's folder; the parts lie in ``<dataset>.parts``.
    """

    def __init__(self, dataset: Path) -> None:
        self.folder = dataset.with_name(dataset.name + ".parts")

    def open(self, recipe: Mapping[str, Any], resume: bool) -> None:
        """Make the folder, or go on with it.

        Raises:
            DatasetError: parts are there and ``resume`` is not set, or they were recorded differently.
        """
        path = self.folder / "recipe.json"
        recipe = json.loads(json.dumps(recipe))
        if path.exists():
            old = json.loads(path.read_text(encoding="utf-8"))
            changed = [f"{k}: {old.get(k)} before, {recipe.get(k)} now" for k in recipe if old.get(k) != recipe.get(k)]
            if not resume or changed:
                raise DatasetError(
                    "an unfinished collection is here" if not resume else "the unfinished collection was another one",
                    file=self.folder,
                    key="--resume" if not resume else ", ".join(line.split(":")[0] for line in changed),
                    expected="a new folder, or --resume" if not resume else "the same options and versions",
                    found=f"{len(self.outcomes())} attempts" if not resume else "; ".join(changed),
                    remedy="go on with it by --resume, or delete this folder to begin anew"
                    if not resume
                    else "repeat the options that it was begun with, or delete this folder to begin anew",
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path.with_suffix(".tmp"), recipe)
            os.replace(path.with_suffix(".tmp"), path)

    def outcomes(self) -> dict[tuple[str, int], str]:
        """Every attempt so far: (task, seed) -> ``recorded``, ``failed`` or ``solved``."""
        outcomes = {}
        for path in self.folder.glob("*-*.*"):
            task, _, seed = path.stem.rpartition("-")
            if path.suffix == ".npz":
                outcomes[task, int(seed)] = "recorded"
            elif path.suffix == ".json":
                outcomes[task, int(seed)] = str(json.loads(path.read_text(encoding="utf-8"))["outcome"])
        return outcomes

    def path(self, task: str, seed: int) -> Path:
        return self.folder / f"{task}-{seed}.npz"

    def note(self, task: str, seed: int, outcome: str) -> None:
        """Keep the outcome of an attempt that gave no episode."""
        partial = self.folder / f"{task}-{seed}.tmp"
        partial.write_text(json.dumps({"outcome": outcome}) + "\n", encoding="utf-8")
        os.replace(partial, partial.with_suffix(".json"))

    def episodes(self, plan: Plan) -> Iterator[EncodedEpisode]:
        """The wanted episodes in the dataset's order: by task, then by seed."""
        for task in plan.wanted:
            for seed in plan.recorded(task):
                yield load_part(self.path(task, seed))

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*.npz"))

    def delete(self) -> None:
        shutil.rmtree(self.folder)


@dataclass
class Plan:
    """What is wanted of each task, and what has been attempted.

    Args:
        wanted: task -> number of episodes, in the dataset's order.
        first_seed: attempt k of a task uses seed ``first_seed`` + k.
        outcomes: (task, seed) -> outcome, of earlier runs.
    """

    wanted: dict[str, int]
    first_seed: int
    outcomes: dict[tuple[str, int], str] = field(default_factory=dict)
    running: set[tuple[str, int]] = field(default_factory=set)

    def next(self) -> tuple[str, int] | None:
        """The next attempt to start, None where nothing more can be started now.

        Raises:
            DatasetError: a task fails so often that the wanted number is out of reach.
        """
        for task, wanted in self.wanted.items():
            hoped = 0
            for seed in count(self.first_seed):
                outcome = "running" if (task, seed) in self.running else self.outcomes.get((task, seed))
                hoped += outcome in ("recorded", "running")
                if hoped == wanted:
                    break
                if outcome is None:
                    self._give_up(task, seed)
                    self.running.add((task, seed))
                    return task, seed
        return None

    def _give_up(self, task: str, seed: int) -> None:
        most = 20 + 5 * self.wanted[task]
        if seed - self.first_seed >= most:
            raise DatasetError(
                "too few episodes of a task succeed",
                key=task,
                expected=f"{self.wanted[task]} episodes in {most} attempts",
                found=f"{len(self.recorded(task))} (from seed {self.first_seed})",
                remedy="see what the expert does there with `vla-agent eval expert`, or leave the task out by --tasks",
            )

    def finish(self, task: str, seed: int, outcome: str) -> None:
        self.running.discard((task, seed))
        self.outcomes[task, seed] = outcome

    def attempts(self, task: str) -> dict[int, str]:
        """Seed -> outcome without a gap from the first seed on, up to the last episode that is wanted."""
        found: dict[int, str] = {}
        recorded = 0
        for seed in count(self.first_seed):
            outcome = self.outcomes.get((task, seed))
            if outcome is None or recorded == self.wanted[task]:
                return found
            found[seed] = outcome
            recorded += outcome == "recorded"
        raise AssertionError("unreachable")

    def recorded(self, task: str) -> list[int]:
        """The seeds of a task's episodes, in order."""
        return [seed for seed, outcome in self.attempts(task).items() if outcome == "recorded"]

    @property
    def complete(self) -> bool:
        return all(len(self.recorded(task)) == wanted for task, wanted in self.wanted.items())

    def summary(self) -> dict[str, Any]:
        """Task -> episodes, attempts, the seeds that gave none, by reason."""
        summary = {}
        for task in self.wanted:
            attempts = self.attempts(task)
            summary[task] = {
                "episodes": len(self.recorded(task)),
                "attempts": len(attempts),
                "first_seed": self.first_seed,
                "failed_seeds": [s for s, outcome in attempts.items() if outcome == "failed"],
                "solved_by_policy_seeds": [s for s, outcome in attempts.items() if outcome == "solved"],
            }
        return summary


def spread(episodes: int, tasks: list[str]) -> dict[str, int]:
    """``episodes`` spread evenly over the tasks, the first ones taking what is left over."""
    each, rest = divmod(episodes, len(tasks))
    return {task: each + (i < rest) for i, task in enumerate(tasks) if each + (i < rest)}
