"""Instructions and episodes of LeRobotDataset v3.0: parquet tables, many episodes in each data file and video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.arrow_columns import tasks_of
from vla_agent.data.lerobot.claims.info_claims import check_counts
from vla_agent.data.lerobot.dataset_files import GET_AGAIN, read_table
from vla_agent.data.lerobot.dataset_tables import EpisodeInfo
from vla_agent.errors import DatasetError
from vla_agent.files.input_limits import EPISODES, TEXT_TABLE_BYTES

MOST_COLUMNS = 256


def read_tasks(root: Path) -> dict[int, str]:
    """``task_index`` -> instruction, from ``meta/tasks.parquet``.

    Raises:
        DatasetError: the table is missing, damaged or lacks a column, or a number is none or there twice.
    """
    path = root / dataset_schema.TASKS
    table = read_table(path, most=TEXT_TABLE_BYTES)
    try:
        if len(table) > EPISODES:
            raise KeyError(f"{len(table):,} rows, at most {EPISODES:,}")
        return tasks_of(table)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            "the table of instructions lacks a column, or a number is none or there twice",
            file=path,
            key=str(error).strip("'"),
            expected="task_index, and the instructions as index",
            found=table.column_names,
            remedy=GET_AGAIN,
        ) from error


def read_episodes(root: Path, info: dict[str, Any]) -> tuple[EpisodeInfo, ...]:
    """The episodes in order, from ``meta/episodes/``.

    Args:
        info: ``meta/info.json``.

    Raises:
        DatasetError: a table is missing, damaged or lacks a column.
    """
    first = root / dataset_schema.EPISODES_PATH.format(chunk_index=0, file_index=0)
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet")) or [first]
    episodes: list[EpisodeInfo] = []
    for path in paths:
        table = read_table(path, most=TEXT_TABLE_BYTES, without="stats/")
        if len(table) + len(episodes) > EPISODES or table.num_columns > MOST_COLUMNS:
            raise DatasetError(
                "the table of episodes is larger than any that is expected",
                file=path,
                key="rows, columns",
                expected=f"at most {EPISODES:,} episodes, and {MOST_COLUMNS} columns but the statistics",
                found=f"{len(table) + len(episodes):,} episodes, {table.num_columns} columns",
                remedy=GET_AGAIN,
            )
        for row in (row for batch in table.to_batches() for row in batch.to_pylist()):
            try:
                episodes.append(_episode(row, info))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise DatasetError(
                    "the table of episodes lacks a column, or holds what is no number or no text",
                    file=path,
                    key=str(error).strip("'"),
                    expected="the columns of LeRobotDataset v3.0",
                    found=sorted(row),
                    remedy=f"{GET_AGAIN}, or convert it to v3.0 with lerobot",
                ) from error
    starts: dict[tuple[int, int], int] = {}  # data file -> number of its first frame
    for episode in episodes:
        starts[episode.data_file] = min(episode.start, starts.get(episode.data_file, episode.start))
    placed = [replace(e, data_start=e.start - starts[e.data_file]) for e in episodes]
    return tuple(sorted(placed, key=lambda episode: episode.index))


def _episode(row: dict[str, Any], info: dict[str, Any]) -> EpisodeInfo:
    """One row of the table of episodes; its place in the data file is not known yet."""
    videos = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    cameras = {key.removeprefix(dataset_schema.IMAGE_PREFIX): f"videos/{key}" for key in videos}
    file, start = (row["data/chunk_index"], row["data/file_index"]), row["dataset_from_index"]
    counts = {k: row[k] for k in ("episode_index", "dataset_to_index")} | {
        "from": start,
        "chunk": file[0],
        "file": file[1],
    }
    video_files = {c: (row[f"{v}/chunk_index"], row[f"{v}/file_index"]) for c, v in cameras.items()}
    counts |= {f"{c}, {k}": n for c, pair in video_files.items() for k, n in zip(("chunk", "file"), pair, strict=True)}
    check_counts(counts)
    if not isinstance(row["tasks"], list) or not all(isinstance(task, str) for task in row["tasks"]):
        raise ValueError(f"tasks is {str(row['tasks'])[:40]}, not a list of sentences")
    return EpisodeInfo(
        index=row["episode_index"],
        task=row["tasks"][0] if row["tasks"] else "",
        start=start,
        stop=row["dataset_to_index"],
        data_file=file,
        data_start=0,
        video_files=video_files,
        video_starts={c: round(row[f"{v}/from_timestamp"] * info["fps"]) for c, v in cameras.items()},
        video_stops={
            c: round(row[f"{v}/to_timestamp"] * info["fps"]) for c, v in cameras.items() if f"{v}/to_timestamp" in row
        },
        origin={k.removeprefix("origin/"): v for k, v in row.items() if k.startswith("origin/")},
    )
