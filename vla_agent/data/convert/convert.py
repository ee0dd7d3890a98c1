"""Converts recordings (bags, HDF5 files, LeRobotDatasets) to a LeRobotDataset v3.0, by one mapping file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.data.convert.bag_episodes import bag_episodes
from vla_agent.data.convert.bag_reader import find_bags
from vla_agent.data.convert.conversion_report import EXCLUDED
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
    exclusion = Exclusion(recordings, mapping)
    skipped = {path: exclusion(path) or reason for path, reason in skipped.items()}
    skipped |= {file: reason for file in files if (reason := exclusion(file))}
    files = [file for file in files if file not in skipped]
    report: dict[str, Any] = {
        "converted_with": mapping.model_dump(mode="json", exclude_none=True),
        "episodes": [],
        "left_out": [],
    }
    for path, reason in skipped.items():
        entry = {"from": printable(exclusion.name_of(path)), "success": None, "left_out": reason}
        report["left_out"].append(entry)
        report_episode(entry)
    episodes = _encode_all(exclusion, files, report, report_episode)
    write_dataset(out, mapping.contract(), episodes, mapping.storage, mapping.robot_type, report)
    return report


class Exclusion:
    """What the mapping's ``exclude`` leaves out, and which of its patterns have named something.

    Args:
        recordings: what is converted; names are paths below it.
        mapping: of the conversion.
    """

    def __init__(self, recordings: Path, mapping: Mapping) -> None:
        self.recordings, self.mapping = recordings, mapping
        self._unused = dict.fromkeys(mapping.exclude)

    def name_of(self, path: Path) -> Path:
        """A file's path below the recordings; its name where it is all of them."""
        below = path.relative_to(self.recordings)
        return below if below.parts else Path(path.resolve().name)

    def __call__(self, path: Path, inside: str | int = "") -> str | None:
        """Why a file, or a group or an episode inside of it, is left out; None where it is not."""
        pattern = self.mapping.excluded_by(self.name_of(path) / str(inside).strip("/"))
        if pattern is None:
            return None
        self._unused.pop(pattern, None)
        return f"{EXCLUDED}: {pattern}"

    @property
    def unused(self) -> list[str]:
        """Patterns that have named nothing so far."""
        return list(self._unused)


def _encode_all(
    exclusion: Exclusion,
    files: list[Path],
    report: dict[str, Any],
    report_episode: Callable[[dict[str, Any]], None],
) -> Iterator[EncodedEpisode]:
    """The kept episodes of all files, by path where a name is there twice; enters every one into ``report``."""
    recordings, mapping = exclusion.recordings, exclusion.mapping
    forward = _forward(mapping)
    _, read = READERS[mapping.format]
    for file in files:
        alone = sum(other.name == file.name for other in files) == 1
        below = Path() if alone else file.parent.relative_to(recordings)
        for episode, entry in read(file, mapping, forward, partial(exclusion, file)):
            entry["from"] = printable(below / entry["from"])
            report["left_out" if episode is None else "episodes"].append(entry)
            if episode is not None:
                named = replace(episode, origin={**episode.origin, "source": entry["from"]})
                yield encode(named, mapping.storage, mapping.control_hz)
            report_episode(entry)
    report["exclude_without_effect"] = exclusion.unused
    if not report["episodes"]:
        reasons = "; ".join(sorted({f"{r['from']}: {r['left_out']}" for r in report["left_out"]}))
        raise DatasetError(
            "no episode is left",
            file=recordings,
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
