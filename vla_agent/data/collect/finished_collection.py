"""Whether a finished dataset is the one that a collection would make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_agent.data.collect.collection import Recipe, versions
from vla_agent.data.collect.unfinished_collection import Parts
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.errors import DatasetError
from vla_agent.files.write_aside import recover

# options that earlier versions did not have
DEFAULTS = {"takeover_execution": ["open_loop"], "takeover_delays_ms": [0.0], "vary": [], "split": "seen"}


def is_finished(folder: Path) -> bool:
    """Whether there is a dataset, of whatever options."""
    return (folder / "meta" / "info.json").exists()


def require_same_collection(folder: Path, recipe: Recipe, episodes: int, same_versions: bool = False) -> None:
    """Check that a finished dataset has these options; what its collection left beside it is deleted then.

    Args:
        same_versions: and comes from this simulator, with these packages and this policy that drove.

    Raises:
        DatasetError: it was collected with other options, or cannot be read.
    """
    dataset = load(folder)
    requested: dict[str, Any] = {**json.loads(json.dumps(recipe.data())), "episodes": episodes}
    found: Mapping[str, Any] = {**DEFAULTS, **dataset.collection, "episodes": len(dataset.episodes)}
    if same_versions:
        requested["versions"] = versions(recipe)
    changed = [f"{key}: {found.get(key)}, not {value}" for key, value in requested.items() if found.get(key) != value]
    if changed:
        raise DatasetError(
            "the folder holds a finished dataset with other options",
            file=folder,
            key=", ".join(line.split(":")[0] for line in changed),
            expected="a new folder, or the options of this dataset",
            found="; ".join(changed),
            remedy="choose another folder",
        )
    Parts(folder).delete()  # the collection may have been killed before it did
    recover(folder)
