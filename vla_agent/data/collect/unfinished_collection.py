"""An unfinished collection: one file per attempted seed, and the plan of what is still to be attempted.

``DIR.parts/`` lies beside the future dataset ``DIR``.  It holds ``recipe.json``, ``<task>-<seed>.npz`` for each
recorded episode and ``<task>-<seed>.json`` for each attempt without one.  Every file appears complete, so that a kill
leaves no damaged one.

A task's seeds are attempted in order, and only while the recorded and running ones are fewer than wanted.  So the
attempts are always the shortest run of seeds with the wanted number of successes: the dataset depends neither on the
number of workers nor on interruptions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from vla_agent.data.lerobot.dataset_files import write_json
from vla_agent.data.lerobot.episode import EncodedEpisode, load_part
from vla_agent.errors import DatasetError
from vla_agent.files.write_aside import remove_folder, write_text


class Parts:
    """The folder with the parts of a collection.

    Args:
        dataset: the dataset's folder; the parts lie in ``<dataset>.parts``.
    """

    def __init__(self, dataset: Path) -> None:
        self.folder = dataset.with_name(dataset.name + ".parts")

    def open(self, recipe: Mapping[str, Any], resume: bool) -> None:
        """Make the folder, or continue with the one that exists.

        Raises:
            DatasetError: there are parts, and ``resume`` is not set or they have other options or versions.
        """
        path = self.folder / "recipe.json"
        recipe = json.loads(json.dumps(recipe))
        if not path.exists():
            self._require_empty()
            write_json(path, recipe)
            return
        old = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise DatasetError(
                "there is an unfinished collection",
                file=self.folder,
                key="--resume",
                expected="a new folder, or --resume",
                found=f"{len(self.outcomes())} attempts",
                remedy="continue it with --resume, or delete this folder to start again",
            )
        changed = {key: f"{old.get(key)} before, {recipe[key]} now" for key in recipe if old.get(key) != recipe[key]}
        if changed:
            raise DatasetError(
                "the unfinished collection has other options or versions",
                file=self.folder,
                key=", ".join(changed),
                expected="the same options and versions",
                found="; ".join(f"{key}: {values}" for key, values in changed.items()),
                remedy="repeat its options, or delete this folder to start again",
            )

    def _require_empty(self) -> None:
        outcomes = self.outcomes()
        if outcomes:
            raise DatasetError(
                "there is an unfinished collection without its options",
                file=self.folder,
                key="recipe.json",
                expected="the options that its parts were recorded with",
                found=f"{len(outcomes)} attempts and no such file",
                remedy="delete this folder to start again",
            )

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

    def episode_path(self, task: str, seed: int) -> Path:
        """The part file of a recorded episode."""
        return self.folder / f"{task}-{seed}.npz"

    def save_outcome(self, task: str, seed: int, outcome: str) -> None:
        """Keep the outcome of an attempt without an episode."""
        write_text(self.folder / f"{task}-{seed}.json", json.dumps({"outcome": outcome}) + "\n")

    def episodes(self, plan: Plan) -> Iterator[EncodedEpisode]:
        """The wanted episodes in the dataset's order: by task, then by seed."""
        for task in plan.wanted:
            for seed in plan.recorded(task):
                yield load_part(self.episode_path(task, seed))

    def delete(self) -> None:
        """Delete the folder, if there is one; its options and its parts go together."""
        remove_folder(self.folder)


@dataclass
class Plan:
    """The wanted number of episodes of each task, and the attempts so far.

    Args:
        wanted: task -> number of episodes, in the dataset's order.
        first_seed: attempt k of a task uses seed ``first_seed`` + k.
        outcomes: (task, seed) -> outcome, of earlier runs.
        running: (task, seed) of the attempts that have no outcome yet.
    """

    wanted: dict[str, int]
    first_seed: int
    outcomes: dict[tuple[str, int], str] = field(default_factory=dict)
    running: set[tuple[str, int]] = field(default_factory=set)

    def next(self) -> tuple[str, int] | None:
        """The next attempt to start; None while nothing more is needed.

        Raises:
            DatasetError: a task fails so often that the wanted number is out of reach.
        """
        for task, wanted in self.wanted.items():
            possible = 0  # episodes, if all running attempts succeed
            for seed in count(self.first_seed):
                outcome = "running" if (task, seed) in self.running else self.outcomes.get((task, seed))
                possible += outcome in ("recorded", "running")
                if possible == wanted:
                    break
                if outcome is None:
                    self._limit_attempts(task, seed)
                    self.running.add((task, seed))
                    return task, seed
        return None

    def _limit_attempts(self, task: str, seed: int) -> None:
        """Raise where a task has used up its attempts."""
        most = 20 + 5 * self.wanted[task]
        if seed - self.first_seed >= most:
            raise DatasetError(
                "too few episodes of a task succeed",
                key=task,
                expected=f"{self.wanted[task]} episodes in {most} attempts",
                found=f"{len(self.recorded(task))} (from seed {self.first_seed})",
                remedy="watch the expert with `vla-agent eval expert`, or leave the task out with --tasks",
            )

    def finish(self, task: str, seed: int, outcome: str) -> None:
        """Enter the outcome of a running attempt."""
        self.running.discard((task, seed))
        self.outcomes[task, seed] = outcome

    def attempts(self, task: str) -> dict[int, str]:
        """Seed -> outcome, from the first seed without a gap to the last wanted episode."""
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
        """Whether every task has its episodes."""
        return all(len(self.recorded(task)) == wanted for task, wanted in self.wanted.items())

    def summary(self) -> dict[str, Any]:
        """Task -> episodes, attempts, first seed, and the seeds without an episode by reason."""
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


def spread_evenly(episodes: int, tasks: list[str]) -> dict[str, int]:
    """Task -> number of episodes, as equal as possible; the first tasks take the remainder."""
    each, rest = divmod(episodes, len(tasks))
    return {task: each + (i < rest) for i, task in enumerate(tasks) if each + (i < rest)}
