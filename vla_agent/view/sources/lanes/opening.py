"""Opens what holds episodes: an evaluation's folder, a dataset, a bag or a folder of bags."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sim.env import TabletopEnv
from sim.tasks.task import TaskFamily
from vla_agent.data.convert.bag_reader import find_bags
from vla_agent.data.lerobot.dataset_reader import Dataset, load
from vla_agent.errors import OptionError, ReportError
from vla_agent.evaluation.result_store import read_report
from vla_agent.robot.description import Robot, load_robot
from vla_agent.view.sources.lanes.bag_lane import BagLane
from vla_agent.view.sources.lanes.dataset_lane import DatasetLane
from vla_agent.view.sources.lanes.lane import Lane, Place
from vla_agent.view.sources.lanes.report_lane import expert_lane, report_lane, same_episode

PANDA = "panda"
REPORT, DATASET, BAG = "evaluation", "dataset", "recording"
Lanes = tuple[tuple[Place, Lane], ...]


def kind_of(path: Path) -> str:
    """`REPORT`, `DATASET` or `BAG`; empty where a path is none of them."""
    if path.name == "report.json" or (path / "report.json").is_file():
        return REPORT
    if (path / "meta" / "info.json").is_file():
        return DATASET
    bag = path.suffix in (".mcap", ".db3") and path.is_file()
    return BAG if bag or (path.is_dir() and find_bags(path)[0]) else ""


class EpisodeSet:
    """The episodes of a path.

    Attributes:
        kind: `REPORT`, `DATASET` or `BAG`.
        name: of the folder.
        longest: frames of the longest episode, as far as that is known without reading all.

    Args:
        robot: robot file of a dataset or bag; empty: the panda.
        trusted: an environment of a report that is not shipped, which the user names.

    Raises:
        OptionError: the path is nothing of the kind.
        VlaAgentError: it is damaged.
    """

    def __init__(self, path: Path, robot: str = "", trusted: str | None = None) -> None:
        self.kind, self._path, self._trusted = kind_of(path), path, trusted
        if not self.kind:
            raise OptionError(
                "nothing here can be shown",
                file=path,
                expected="an evaluation (report.json), a LeRobotDataset (meta/info.json) or a bag (.mcap, .db3)",
                found="no such path" if not path.exists() else "none of them",
                remedy="vla-agent eval, collect and recorder_node write such",
            )
        self.name = path.resolve().parent.name if path.name == "report.json" else path.resolve().name
        self._robot_name = robot
        self.longest = 0
        self._report: dict[str, Any] = {}
        self._bags: list[Path] = []
        self._dataset: Dataset | None = None
        self._envs: dict[str, TabletopEnv] = {}  # place -> the environment in which its episodes are simulated
        self._others: dict[str, EpisodeSet] = {}  # path -> what stands beside
        if self.kind == REPORT:
            self._file = path if path.name == "report.json" else path / "report.json"
            self._report = read_report(self._file)
            self.longest = 1 + max(_steps(self._file, self._report["episodes"]), default=0)
        elif self.kind == DATASET:
            self._dataset = load(path)
            self.longest = max((episode.length for episode in self._dataset.episodes), default=0)
        else:
            self._bags, _ = find_bags(path)

    def _robot(self) -> Robot:
        return load_robot(self._robot_name or PANDA)

    def _dataset_robot(self, dataset: Dataset) -> Robot | None:
        """The named robot; the panda where the dataset says that it is one, or has its seven joints from here."""
        if self._robot_name:
            return self._robot()
        kind = str(dataset.info.get("robot_type") or "")
        ours = (dataset.root / "meta" / "contract.json").is_file()
        return self._robot() if PANDA in kind or ours else None

    def numbers(self) -> list[int]:
        """Numbers of all episodes."""
        if self._dataset is not None:
            return [episode.index for episode in self._dataset.episodes]
        return list(range(len(self._report["episodes"] if self._report else self._bags)))

    def label(self, number: int) -> str:
        """What the list says of an episode."""
        if self._report:
            row = self._report["episodes"][number]
            control = "" if row["control"] == "policy" else f", {row['control']}"
            return f"{number}: {row['task']} {row['seed']}{control}, {'success' if row['success'] else 'no success'}"
        if self._dataset is not None:
            task = next((e.task for e in self._dataset.episodes if e.index == number), "")
            return f"{number}: {str(task)[:60]}"
        return f"{number}: {self._bags[number].name}"

    def choices(self, most: int, first: int) -> dict[str, int]:
        """Label -> number, of at most ``most`` episodes around ``first``."""
        numbers = self.numbers()
        place = numbers.index(first) if first in numbers else 0
        begin = max(0, min(place - most // 2, len(numbers) - most))
        return {self.label(number): number for number in numbers[begin : begin + most]}

    def lane(self, number: int, place: Place) -> Lane:
        """An episode, opened.

        Raises:
            OptionError: there is no such episode.
            VlaAgentError: it is damaged.
        """
        if self._report:
            worlds = partial(self._world, place)
            return report_lane(self._file, self._report, number, place, self._trusted, worlds)
        if self._dataset is not None:
            return DatasetLane(self._dataset, number, self._dataset_robot(self._dataset), place)
        if not 0 <= number < len(self._bags):
            expected = f"0 to {len(self._bags) - 1}"
            raise OptionError("there is no such bag", file=self._path, key="--episode", expected=expected, found=number)
        return BagLane(self._bags[number], self._robot(), place)

    def other(self, number: int, against: str, place: Place) -> Lane:
        """What stands beside an episode: the expert, or the same seed or number of another path.

        Raises:
            OptionError: that cannot be shown beside it.
            VlaAgentError: it is damaged.
        """
        if against == "expert":
            if not self._report:
                raise OptionError(
                    "the expert is shown beside an evaluation alone",
                    key="--against",
                    expected="the path of an evaluation before it",
                    found=f"a {self.kind}",
                    remedy="a dataset of vla-agent collect is the expert's own; --policy shows what a policy would do",
                )
            return expert_lane(self._report, self._report["episodes"][number], place, partial(self._world, place))
        if against not in self._others:
            self._others[against] = EpisodeSet(Path(against), self._robot_name, self._trusted)
        others = self._others[against]
        if self._report and others._report:
            number = same_episode(others._report, self._report["episodes"][number], others._file)
        return others.lane(number, place)

    def _world(self, place: Place, family: TaskFamily, split: str) -> TabletopEnv:
        """The environment of a place, which is built once, set to a family."""
        if place.name not in self._envs:
            self._envs[place.name] = TabletopEnv(task=family, split=split)
        self._envs[place.name].set_task(family, split)
        return self._envs[place.name]

    def close(self) -> None:
        """Free the environments; episodes cannot be shown any more."""
        for env in self._envs.values():
            env.close()
        self._envs.clear()
        for other in self._others.values():
            other.close()


def _steps(file: Path, rows: list[dict[str, Any]]) -> Iterator[int]:
    for number, row in enumerate(rows):
        if not isinstance(row["steps"], int):
            raise ReportError(
                "an episode of the report cannot be read",
                file=file,
                key=f"episodes.{number}.steps",
                expected="a whole number",
                found=str(row["steps"])[:100],
                remedy="the file was changed: get it again, or evaluate again",
            )
        yield row["steps"]
