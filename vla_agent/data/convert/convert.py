"""Converts recordings (bags, HDF5 files, LeRobotDatasets) to a LeRobotDataset v3.0, by one mapping file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.data.convert.bag_episodes import bag_episodes
from vla_agent.data.convert.bag_reader import find_bags
from vla_agent.data.convert.field_vectors import Forward
from vla_agent.data.convert.hdf5_episodes import find_files, hdf5_episodes
from vla_agent.data.convert.lerobot_episodes import find_datasets, lerobot_episodes
from vla_agent.data.convert.mapping import Mapping, load_mapping
from vla_agent.data.lerobot.dataset_writer import refuse_existing, refuse_inside, write_dataset
from vla_agent.data.lerobot.episode import EncodedEpisode, encode
from vla_agent.errors import DatasetError, printable

READERS = {
    "bag": (find_bags, bag_episodes),
    "hdf5": (find_files, hdf5_episodes),
    "lerobot": (find_datasets, lerobot_episodes),
}
INPUTS = {
    "bag": "a bag, or a folder of bags",
    "hdf5": "an .hdf5 file, or a folder of them",
    "lerobot": "a LeRobotDataset's folder, or a folder of them",
}


def convert(
    recordings: str | PathLike[str],
    mapping_file: str | PathLike[str],
    out: str | PathLike[str],
    report_episode: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Convert a recording, or a folder of them; the dataset's folder appears when it is complete.

    Args:
        recordings: a bag, an HDF5 file, a LeRobotDataset, or a folder that holds one kind at any depth.
        mapping_file: see `load_mapping`.
        out: the new dataset's folder.
        report_episode: called with each episode's report when it is done.

    Returns:
        The report that ``meta/collection.json`` holds: ``episodes`` and ``left_out``, each with its sources' gaps, or
        the reason for which a file was left out (`conversion_report.is_complete`).

    Raises:
        DatasetError: the mapping, a recording or the output is wrong, or no episode is left.
        ContractError: the mapping's contract is invalid.
    """
    recordings, mapping, out = Path(recordings), load_mapping(mapping_file), Path(out)
    refuse_existing(out)
    find, _ = READERS[mapping.format]
    files, skipped = find(recordings) if recordings.exists() else ([], {})
    if not files:
        raise DatasetError(
            "there is nothing to convert",
            file=recordings,
            key=f"format: {mapping.format}",
            expected=INPUTS[mapping.format],
            found="; ".join([f"{p.name}: {why}" for p, why in skipped.items()][:20])
            or ("no such path" if not recordings.exists() else "none"),
            remedy="check the path and the mapping's format",
        )
    for file in files:
        refuse_inside(out, file)
    report: dict[str, Any] = {
        "converted_with": mapping.model_dump(mode="json", exclude_none=True),
        "episodes": [],
        "left_out": [],
    }
    for path, reason in skipped.items():
        entry = {"from": printable(path.relative_to(recordings)), "success": None, "left_out": reason}
        report["left_out"].append(entry)
        report_episode(entry)
    episodes = _encode_all(recordings, files, mapping, report, report_episode)
    write_dataset(out, mapping.contract(), episodes, mapping.storage, mapping.robot_type, report)
    return report


def _encode_all(
    recordings: Path,
    files: list[Path],
    mapping: Mapping,
    report: dict[str, Any],
    report_episode: Callable[[dict[str, Any]], None],
) -> Iterator[EncodedEpisode]:
    """The kept episodes of all files, by path where a name is there twice; enters every one into ``report``."""
    forward = _forward(mapping)
    _, read = READERS[mapping.format]
    for file in files:
        alone = sum(other.name == file.name for other in files) == 1
        below = Path() if alone else file.parent.relative_to(recordings)
        for episode, entry in read(file, mapping, forward):
            entry["from"] = printable(below / entry["from"])
            report["left_out" if episode is None else "episodes"].append(entry)
            if episode is not None:
                named = replace(episode, origin={**episode.origin, "source": entry["from"]})
                yield encode(named, mapping.storage, mapping.control_hz)
            report_episode(entry)
    if not report["episodes"]:
        reasons = "; ".join(sorted({f"{r['from']}: {r['left_out']}" for r in report["left_out"]}))
        raise DatasetError(
            "no episode is left",
            file=files[0].parent,
            expected="at least one complete, successful episode",
            found=reasons,
            remedy="set a larger tolerance, gaps: longest or keep: all in the mapping file, or use other recordings",
        )


def _forward(mapping: Mapping) -> Forward | None:
    """The forward kinematics of the mapping's robot, where it names one."""
    if mapping.robot is None:
        return None
    from vla_agent.robot.control.controller_factory import make_pose_controller
    from vla_agent.robot.description import load_robot

    return make_pose_controller(load_robot(mapping.robot), "ee_delta").kinematics.forward
