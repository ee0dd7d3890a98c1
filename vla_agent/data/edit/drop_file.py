"""Episodes to leave out, from a file of findings: of ``data validate --json``, or of the page of ``data browse``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.data.lerobot.dataset_reader import Dataset
from vla_agent.errors import DatasetError, OptionError
from vla_agent.files import bounded_reading

REMEDY = "pass the file that vla-agent data validate DIR --json FILE wrote, or that vla-agent data browse saved"


def dropped_episodes(file: str | PathLike[str], dataset: Dataset) -> frozenset[int]:
    """The episodes that have an error in a file of findings; warnings and findings of the whole dataset drop nothing.

    Args:
        file: a list of findings, each with ``"dataset": {"name", "episodes", "frames"}`` where it is known, or
            ``{"dataset": ..., "findings": [...]}``.
        dataset: the one that is edited; the file's numbers of episodes and frames must be its own.

    Raises:
        OptionError: the file is missing or something else, is of another dataset, or drops nothing.
        DatasetError: it exceeds a bound of `files.bounded_reading`.
    """
    data = _read(Path(file))
    listed = data.get("findings") if isinstance(data, dict) else data
    if not isinstance(listed, list) or not all(_is_finding(entry) for entry in listed):
        raise OptionError(
            "the file holds no findings",
            file=file,
            key="--drop",
            expected="a list of findings, each with episode (a number or null) and error (true or false)",
            found=type(data).__name__ if not isinstance(listed, list) else "an entry without them",
            remedy=REMEDY,
        )
    stated = [data.get("dataset")] if isinstance(data, dict) else [e["dataset"] for e in listed if "dataset" in e]
    for one in stated:
        _require_same(Path(file), one, dataset)
    found = frozenset(entry["episode"] for entry in listed if entry["error"] and entry["episode"] is not None)
    if not found:
        raise OptionError(
            "the findings drop no episode",
            file=file,
            key="--drop",
            expected="at least one error that belongs to an episode",
            found=f"{len(listed)} findings, none of them such an error",
            remedy="flag episodes on the page, or name them with --leave-out",
        )
    return found


def _read(file: Path) -> Any:
    try:
        return bounded_reading.read_json(file, DatasetError)
    except (OSError, ValueError) as error:
        raise OptionError(
            "the file of findings cannot be read",
            file=file,
            key="--drop",
            expected="JSON",
            found=getattr(error, "strerror", None) or f"{type(error).__name__}: {error}",
            remedy=REMEDY,
        ) from error


def _is_finding(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("error"), bool) or "episode" not in entry:
        return False
    return entry["episode"] is None or type(entry["episode"]) is int


def _require_same(file: Path, stated: Any, dataset: Dataset) -> None:
    own = dataset.counts
    found = {key: stated.get(key) for key in own} if isinstance(stated, dict) else {}
    if found != own:
        raise OptionError(
            "the findings are of another dataset",
            file=file,
            key="--drop",
            expected=f"{own['episodes']} episodes, {own['frames']} frames, as in {dataset.root}",
            found=", ".join(f"{value} {key}" for key, value in found.items()) or "no dataset",
            remedy="validate or browse this dataset: an edit numbers the episodes anew",
        )
