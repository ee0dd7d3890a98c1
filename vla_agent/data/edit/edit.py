"""Writes the edited dataset: whole or not at all, with a record of what was done to which dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from vla_agent.contract import Contract
from vla_agent.data.edit.edit_plan import Edit, Piece, plan, require_used
from vla_agent.data.edit.episode_copy import copy_episode
from vla_agent.data.edit.rate_change import slower_contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, read
from vla_agent.data.lerobot.dataset_writer import refuse_existing, refuse_inside, write_dataset
from vla_agent.data.lerobot.episode import EncodedEpisode
from vla_agent.errors import DatasetError
from vla_agent.files.write_aside import folder_aside


def edit_dataset(
    directory: str | PathLike[str],
    out: str | PathLike[str],
    edit: Edit,
    merge: Sequence[str | PathLike[str]] = (),
) -> dict[str, Any]:
    """Write a dataset of the episodes that ``edit`` takes, followed by all episodes of the datasets in ``merge``.

    Args:
        directory: the dataset that is edited.  It is only read.
        out: the new dataset's folder; it appears when it is complete.
        merge: datasets with the same contract and storage.

    Returns:
        The record that ``meta/collection.json`` holds under ``edited``.

    Raises:
        OptionError: an episode, a frame, an instruction or a rate that is not there.
        DatasetError: the folder exists, a dataset cannot be read or does not fit the first one, nothing is left.
        ContractError: a contract of another version.
    """
    refuse_existing(Path(out))
    for folder in (directory, *merge):
        refuse_inside(Path(out), Path(folder))
    datasets = [read(folder) for folder in (directory, *merge)]
    pieces = plan(datasets[0], edit) + [piece for more in datasets[1:] for piece in plan(more, edit.of_all())]
    require_used(edit.renames, pieces)
    return _write(pieces, datasets, Path(out), edit)


def split_dataset(
    directory: str | PathLike[str], out: str | PathLike[str], parts: Mapping[str, frozenset[int]], edit: Edit
) -> dict[str, dict[str, Any]]:
    """Write a dataset ``out/NAME`` for each part, all of them or none.

    Args:
        parts: name -> episodes, by their numbers in ``directory``.
        edit: made before; episodes that it leaves out are in no part.

    Returns:
        Name -> the record as of `edit_dataset`.

    Raises:
        As `edit_dataset`; OptionError: an episode in two parts.
    """
    refuse_existing(Path(out))
    refuse_inside(Path(out), Path(directory))
    dataset = read(directory)
    records, pieces = {}, {}
    edits = {name: _part(edit, numbers) for name, numbers in parts.items()}
    for name, own in edits.items():
        pieces[name] = plan(dataset, own)
    require_used(edit.renames, [piece for part in pieces.values() for piece in part])
    with folder_aside(Path(out)) as aside:
        for name, own in edits.items():
            records[name] = _write(pieces[name], [dataset], aside / name, own)
    return records


def _part(edit: Edit, numbers: frozenset[int]) -> Edit:
    """What of an edit concerns some episodes."""
    trims = {k: frames for k, frames in edit.trims.items() if k in numbers}
    texts = {k: text for k, text in edit.instructions.items() if k in numbers}
    return replace(edit, leave_out=edit.leave_out & numbers, keep=numbers, trims=trims, instructions=texts)


def _write(pieces: list[Piece], datasets: list[Dataset], out: Path, edit: Edit) -> dict[str, Any]:
    contract, storage = _require_alike(datasets)
    every = pieces[0].every  # the same for all: their contracts have one rate
    slower = contract if every == 1 else slower_contract(contract, every, datasets[0].root)
    record: dict[str, Any] = {
        "from": [{"name": d.root.resolve().name, "sha256": _hash(d), "episodes": len(d.episodes)} for d in datasets],
        "left_out": sorted({e.index for e in datasets[0].episodes} - _taken(pieces, datasets[0])),
        "trimmed": {str(k): list(frames) for k, frames in sorted(edit.trims.items())},
        "instructions": {str(k): text for k, text in sorted(edit.instructions.items())},
        "renamed": dict(edit.renames),
        "encoded_again": [],
    }
    if every > 1:
        rates = {"from": round(contract.control_hz), "to": round(slower.control_hz)}
        record["fps"] = rates | {"cut": sum(piece.cut for piece in pieces)}
    robots = {d.info.get("robot_type") for d in datasets}
    write_dataset(
        out,
        slower,
        _episodes(pieces, contract, storage, record),
        storage,
        robots.pop() if len(robots) == 1 else None,
        _collection(datasets) | {"edited": record},
    )
    return record | {"episodes": len(pieces), "frames": sum(piece.length for piece in pieces)}


def _episodes(
    pieces: list[Piece], contract: Contract, storage: str, record: dict[str, Any]
) -> Iterator[EncodedEpisode]:
    """The copied pieces, each with the same columns of its origin; enters what was encoded again into ``record``."""
    origins = _origins(pieces)
    for number, (piece, origin) in enumerate(zip(pieces, origins, strict=True)):
        episode, again = copy_episode(piece, contract, storage)
        if again:
            record["encoded_again"].append({"episode": number, "cameras": again})
        yield replace(episode, origin=origin)
    for dataset in {id(piece.dataset): piece.dataset for piece in pieces}.values():
        dataset.require_unchanged()


def _origins(pieces: list[Piece]) -> list[dict[str, Any]]:
    """Each episode's origin with the keys of all; text where the datasets' types differ."""
    keys = {key: None for piece in pieces for key in piece.episode.origin}
    mixed = {key for key in keys if len(set(_types(pieces, key))) > 1}
    found = []
    for piece in pieces:
        values = {key: piece.episode.origin.get(key) for key in keys}
        found.append({k: str(v) if k in mixed and v is not None else v for k, v in values.items()})
    return found


def _types(pieces: Iterable[Piece], key: str) -> list[type]:
    values = (piece.episode.origin.get(key) for piece in pieces)
    return [type(value) for value in values if value is not None]


def _require_alike(datasets: list[Dataset]) -> tuple[Contract, str]:
    """The contract and the storage that all datasets have.

    Raises:
        DatasetError: they differ, or a dataset has columns that would be lost.
        ContractError: the contracts differ.
    """
    first = datasets[0]
    contract, storage = first.contract, _storage(first)
    present = (name in first.info["features"] for name in dataset_schema.OPTIONAL)
    expected = dataset_schema.features(contract, storage, *present)
    for dataset in datasets:
        dataset.contract.require(contract, str(dataset.root), str(first.root))
        found = dataset.info["features"]
        differing = sorted(
            name
            for name in found.keys() | expected.keys()
            if name not in found or name not in expected or found[name]["dtype"] != expected[name]["dtype"]
        )
        if differing:
            raise DatasetError(
                "a dataset has other features than its contract, or is stored differently from the first",
                file=dataset.root / dataset_schema.INFO,
                key=", ".join(differing),
                expected="; ".join(f"{n} {expected[n]['dtype']}" if n in expected else f"no {n}" for n in differing),
                found="; ".join(f"{n} {found[n]['dtype']}" if n in found else f"no {n}" for n in differing),
                remedy="bring it to this form first: vla-agent data convert, with a mapping file (docs/data.md)",
            )
    return contract, storage


def _storage(dataset: Dataset) -> str:
    kinds = {f["dtype"] for f in dataset.info["features"].values()} & {"image", "video"}
    return "video" if kinds == {"video"} else "images"


def _taken(pieces: list[Piece], dataset: Dataset) -> set[int]:
    return {piece.episode.index for piece in pieces if piece.dataset is dataset}


def _hash(dataset: Dataset) -> str | None:
    """The dataset's hash; None where a file is not the one that its manifest states: that is why it is edited."""
    try:
        return dataset.hash
    except DatasetError:
        return None


def _collection(datasets: list[Dataset]) -> dict[str, Any]:
    """What is known of how the demonstrations were made: the first dataset's record, and the tasks of all."""
    records = [dataset.collection for dataset in datasets]
    tasks = {str(task): None for record in records for task in record.get("tasks", ())}
    kept = dict(records[0]) if len(records) == 1 else {"collections": records}
    return kept | ({"tasks": list(tasks)} if tasks else {})
