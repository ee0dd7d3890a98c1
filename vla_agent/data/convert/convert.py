"""Recordings of other programs to a LeRobotDataset v3.0: bags, HDF5 files, LeRobotDatasets, by one mapping file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.data.convert.bag_episodes import bag_episodes
from vla_agent.data.convert.bag_reader import find_bags
from vla_agent.data.convert.field_vectors import Forward
from vla_agent.data.convert.hdf5_episodes import find_files, hdf5_episodes
from vla_agent.data.convert.lerobot_episodes import find_datasets, lerobot_episodes
from vla_agent.data.convert.mapping import Mapping, load_mapping
from vla_agent.data.lerobot.dataset_writer import refuse_existing, write_dataset
from vla_agent.data.lerobot.episode import EncodedEpisode, encode
from vla_agent.errors import DatasetError

READERS = {
    "bag": (find_bags, bag_episodes),
    "hdf5": (find_files, hdf5_episodes),
    "lerobot": (find_datasets, lerobot_episodes),
}
SOUGHT = {
    "bag": "a bag, or a folder of bags",
    "hdf5": "an .hdf5 file, or a folder of them",
    "lerobot": "a LeRobotDataset's folder, or a folder of them",
}


def convert(
    place: str | PathLike[str],
    mapping_file: str | PathLike[str],
    out: str | PathLike[str],
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Convert a recording, or a folder of them; the dataset's folder appears when it is whole.

    Args:
        place: a bag, an HDF5 file, a LeRobotDataset, or a folder of one kind.
        told: called with each episode's report when it is done.

    Returns:
        The report, which ``meta/collection.json`` also holds: ``episodes`` and ``left_out`` with what was missing.

    Raises:
        DatasetError: the mapping, a recording or the output is wrong, or no episode is left.
        ContractError: the mapping's contract makes no sense.
    """
    place, mapping, out = Path(place), load_mapping(mapping_file), Path(out)
    refuse_existing(out)
    find, _ = READERS[mapping.format]
    files = find(place) if place.exists() else []
    if not files:
        raise DatasetError(
            "there is nothing to convert",
            file=place,
            key=f"format: {mapping.format}",
            expected=SOUGHT[mapping.format],
            found="no such path" if not place.exists() else "none",
            remedy="check the path and the mapping's format",
        )
    report: dict[str, Any] = {
        "converted_with": mapping.model_dump(mode="json", exclude_none=True),
        "episodes": [],
        "left_out": [],
    }
    episodes = _encoded(files, mapping, report, told)
    write_dataset(out, mapping.contract(), episodes, mapping.storage, mapping.robot_type, report)
    return report


def _encoded(
    files: list[Path], mapping: Mapping, report: dict[str, Any], told: Callable[[dict[str, Any]], None]
) -> Iterator[EncodedEpisode]:
    forward = _forward(mapping)
    _, read = READERS[mapping.format]
    for file in files:
        for episode, found in read(file, mapping, forward):
            report["left_out" if episode is None else "episodes"].append(found)
            if episode is not None:
                yield encode(episode, mapping.storage, mapping.control_hz)
            told(found)
    if not report["episodes"]:
        why = "; ".join(sorted({f"{r['from']}: {r['left_out']}" for r in report["left_out"]}))
        raise DatasetError(
            "no episode is left",
            file=files[0].parent,
            expected="at least one whole, successful episode",
            found=why,
            remedy="a larger tolerance, gaps: longest or keep: all in the mapping file, or other recordings",
        )


def _forward(mapping: Mapping) -> Forward | None:
    if mapping.robot is None:
        return None
    from vla_agent.robot.control.robot_controller import controller_of
    from vla_agent.robot.description import load_robot

    return controller_of(load_robot(mapping.robot), "ee_delta").kinematics.forward
