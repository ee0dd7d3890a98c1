"""Instructions and episodes of LeRobotDataset v2.1, v2.0: JSON lines; a table and MP4s for each episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.arrow_columns import numbered_tasks
from vla_agent.data.lerobot.claims.info_claims import check_counts
from vla_agent.data.lerobot.dataset_files import GET_AGAIN
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.errors import DatasetError
from vla_agent.files.bounded_reading import read_lines
from vla_agent.files.input_limits import EPISODES as MOST_ROWS

TASKS, EPISODES = "meta/tasks.jsonl", "meta/episodes.jsonl"


def read_tasks(root: Path) -> dict[int, str]:
    """``task_index`` -> instruction, from ``meta/tasks.jsonl``.

    Raises:
        DatasetError: the file is missing or damaged, or a number is none or there twice.
    """
    rows = _read_lines(root / TASKS, ("task_index", "task"))
    try:
        return numbered_tasks([row["task_index"] for row in rows], [row["task"] for row in rows])
    except ValueError as error:
        raise _unreadable(root / TASKS, "a whole number for each instruction, each once", error) from error


def read_episodes(root: Path, info: dict[str, Any]) -> tuple[EpisodeInfo, ...]:
    """The episodes in order, from ``meta/episodes.jsonl``.

    Args:
        info: ``meta/info.json``.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    features = info["features"].items()
    cameras = [key.removeprefix(dataset_schema.IMAGE_PREFIX) for key, f in features if f["dtype"] == "video"]
    rows = _read_lines(root / EPISODES, ("episode_index", "tasks", "length"))
    episodes, start = [], 0
    try:
        for row in rows:
            check_counts({key: row[key] for key in ("episode_index", "length")})
            if not isinstance(row["tasks"], list) or not all(isinstance(task, str) for task in row["tasks"]):
                raise ValueError(f"tasks is {str(row['tasks'])[:40]}, not a list of sentences")
    except ValueError as error:
        raise _unreadable(root / EPISODES, "whole numbers, and a list of sentences", error) from error
    for row in sorted(rows, key=lambda row: row["episode_index"]):
        file = (row["episode_index"] // info.get("chunks_size", dataset_schema.CHUNKS_SIZE), row["episode_index"])
        episodes.append(
            EpisodeInfo(
                index=row["episode_index"],
                task=row["tasks"][0] if row["tasks"] else "",
                start=start,
                stop=start + row["length"],
                data_file=file,
                data_start=0,
                video_files=dict.fromkeys(cameras, file),
                video_starts=dict.fromkeys(cameras, 0),
            )
        )
        start += row["length"]
    return tuple(episodes)


def _read_lines(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a JSON lines file, each with these keys."""
    try:
        rows: list[dict[str, Any]] = []
        for number, row in read_lines(path, DatasetError):
            missing = [key for key in keys if key not in row]
            if missing or len(rows) == MOST_ROWS:
                raise ValueError(
                    f"line {number} without {', '.join(missing)}" if missing else f"over {MOST_ROWS:,} lines"
                )
            rows.append(row)
        if not rows:
            raise ValueError("no lines")
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, f"JSON lines with {', '.join(keys)}", error) from error
    return rows


def _unreadable(path: Path, expected: str, error: Exception) -> DatasetError:
    return DatasetError(
        "a table of the dataset cannot be read",
        file=path,
        expected=expected,
        found=f"{type(error).__name__}: {error}",
        remedy=GET_AGAIN,
    )
