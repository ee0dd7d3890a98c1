"""``scores.json``: the weight of every episode of one dataset, bound to it by its hash; and a recipe's use of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vla_agent.errors import RecipeError
from vla_agent.files import bounded_reading
from vla_agent.files.hashing import hash_file
from vla_agent.files.recipe_file import Strict
from vla_agent.files.write_aside import file_aside, write_text
from vla_agent.training.demonstrations import Demonstrations
from vla_agent.training.recipe import ScoredData

KIND, VERSION = "vla-agent scores", 1
MAKE = "vla-agent data score DATASET --policy POLICY -o scores.json"
R = TypeVar("R", bound=Strict)


def write_scores(file: Path, scores: Mapping[str, Any]) -> None:
    """Write scores as JSON, or as parquet with one row per episode and all else in the metadata, atomically."""
    if file.suffix.lower() != ".parquet":
        write_text(file, json.dumps(scores, indent=1) + "\n")
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    rest = {key: value for key, value in scores.items() if key != "episodes"}
    table = pa.Table.from_pylist(list(scores["episodes"]))
    with file_aside(file) as aside:
        pq.write_table(table.replace_schema_metadata({"vla_agent": json.dumps(rest)}), aside)


def read_weights(file: Path) -> tuple[str, np.ndarray]:
    """The dataset's SHA-256, and the weight of each of its episodes (n,).

    Raises:
        RecipeError: the file is missing, something else, or holds weights that no training can use.
    """
    try:
        data = bounded_reading.read_json(file, RecipeError)
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise _unusable(file, "JSON that vla-agent data score wrote", found) from error
    try:
        if (data["kind"], data["version"]) != (KIND, VERSION):
            raise ValueError(f"kind {data['kind']}, version {data['version']}")
        if [entry["episode"] for entry in data["episodes"]] != list(range(data["dataset"]["episodes"])):
            raise ValueError("not one entry for each episode, in order")
        digest = str(data["dataset"]["sha256"])
        weights = np.array([float(entry["weight"]) for entry in data["episodes"]])
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(file, f"kind: {KIND}, version: {VERSION}, dataset, episodes", error) from error
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise _unusable(file, "finite weights of at least 0, not all of them 0", "others")
    return digest, weights


def pin_scores(recipe: R) -> R:
    """The recipe with the hashes of its files of scores, so that other contents are another training.

    Raises:
        RecipeError: a file is missing, or not the one that the recipe was written for.
    """
    data: ScoredData = recipe.data  # type: ignore[attr-defined]  # both kinds of recipes have it
    try:
        found = tuple(hash_file(file) for file in data.scores)
    except OSError as error:
        raise _unusable(Path(str(error.filename)), "a file of scores", error.strerror) from error
    if data.scores_sha256 and data.scores_sha256 != found:
        raise RecipeError(
            "a file of scores is not the one that the recipe names",
            file=", ".join(data.scores),
            key="data.scores_sha256",
            expected=", ".join(data.scores_sha256),
            found=", ".join(found) or "no data.scores",
            remedy="use that file, or remove data.scores_sha256 to train with this one",
        )
    return recipe.model_copy(update={"data": data.model_copy(update={"scores_sha256": found})})


def episode_weights(data: ScoredData, demos: Demonstrations, folders: Sequence[str]) -> np.ndarray | None:
    """The weight of each episode of all datasets (n,), mean 1 in each; None where the recipe names no scores.

    Datasets without scores have weight 1.

    Args:
        folders: of the datasets, in the order of ``demos.hashes``.

    Raises:
        RecipeError: scores of another dataset, or two files for one.
    """
    if not data.scores:
        return None
    parts: dict[str, np.ndarray] = {}
    for file in data.scores:
        digest, weights = read_weights(Path(file))
        if digest not in demos.hashes or digest in parts:
            raise RecipeError(
                "the scores are of another dataset" if digest not in demos.hashes else "two files score one dataset",
                file=file,
                key="data.scores",
                expected="scores of "
                + ", ".join(f"{f} ({h[:12]})" for f, h in zip(folders, demos.hashes, strict=True)),
                found=f"a dataset with SHA-256 {digest[:12]}",
                remedy=f"score this dataset: {MAKE}",
            )
        parts[digest] = weights / weights.mean()
    counts = _episodes_of_datasets(demos)
    return np.concatenate([parts.get(h, np.ones(n)) for h, n in zip(demos.hashes, counts, strict=True)])


def _episodes_of_datasets(demos: Demonstrations) -> list[int]:
    """Episodes of each dataset; those that a training leaves out at the end count, too, where a later one begins."""
    firsts = [int(demos.episode[first]) if first < len(demos) else demos.episode_count for first in demos.first]
    return [b - a for a, b in zip(firsts, [*firsts[1:], demos.episode_count], strict=True)]


def _unusable(file: Path, expected: str, found: object) -> RecipeError:
    return RecipeError(
        "the file of scores cannot be used",
        file=file,
        key="data.scores",
        expected=expected,
        found=found,
        remedy=f"make it: {MAKE}",
    )
