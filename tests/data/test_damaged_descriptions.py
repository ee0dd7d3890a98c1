"""Descriptions that were damaged, as a fuzzer found them: each is refused or reported by name."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress

import h5py
import numpy as np
import pyarrow as pa
import pytest

from benchmarks.inputs.makers import hdf5_files, lerobot_sets, mappings
from vla_agent.data.edit.edit import edit_dataset
from vla_agent.data.edit.edit_plan import Edit
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.validate.validate import validate
from vla_agent.errors import DatasetError, GateError
from vla_agent.gate.decision.gate_file import load_gate

LINES = "meta/episodes.jsonl"


def refused(root, match):
    """`load` raises; `validate` has an error, or raises where nothing can be read."""
    with pytest.raises(DatasetError, match=match) as error:
        load(root)
    try:
        assert any(finding.error for finding in validate(root))
    except DatasetError as other:
        assert other.what == error.value.what
    return error.value


def test_instructions_of_an_episode_are_a_list_of_sentences(tmp_path):
    root = lerobot_sets.foreign(tmp_path / "d", "v2.1 images")
    rows = [json.loads(line) for line in (root / LINES).read_text().splitlines()]
    (root / LINES).write_text("".join(json.dumps(row | {"tasks": 7}) + "\n" for row in rows))
    assert refused(root, "cannot be read").file == str(root / LINES)


@pytest.mark.parametrize(
    "key, value", [("robot_type", ["so101"]), ("data_path", "x" * 900 + "/{episode_chunk}{episode_index}.parquet")]
)
def test_a_description_with_a_list_for_a_name_or_an_endless_path(tmp_path, key, value):
    root = lerobot_sets.foreign(tmp_path / "d", "v2.1 images")
    lerobot_sets.change_info(root, lambda info: info.update({key: value}))
    refused(root, "wrong|cannot be read")


def test_frame_numbers_that_are_none_are_found(tmp_path):
    root = lerobot_sets.foreign(tmp_path / "d")
    numbers = np.tile(np.arange(lerobot_sets.FRAMES, dtype=float), lerobot_sets.EPISODES)
    numbers[3] = np.nan
    lerobot_sets.change_table(root, lambda table: lerobot_sets.with_column(table, "frame_index", pa.array(numbers)))
    refused(root, "frame_index")


def test_actions_of_another_size_than_their_names_are_found_and_not_copied(tmp_path):
    root = lerobot_sets.write_good(tmp_path / "d")
    rows = pa.array([[0.1 * k, 0.2] for k in range(lerobot_sets.EPISODES * lerobot_sets.FRAMES)])
    lerobot_sets.change_table(root, lambda table: lerobot_sets.with_column(table, "action", rows))
    refused(root, "action")
    with pytest.raises(DatasetError, match="action"):
        edit_dataset(root, tmp_path / "out", Edit(frozenset({1}), None, {}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [None, [[True] * 3], [[0.1, 0.2]]])
def test_a_state_that_is_missing_or_of_another_kind_is_found(tmp_path, rows):
    root = lerobot_sets.write_good(tmp_path / "d")
    frames = lerobot_sets.EPISODES * lerobot_sets.FRAMES

    def change(table):
        if rows is None:
            return table.drop_columns(["observation.state"])
        return lerobot_sets.with_column(table, "observation.state", pa.array(rows * frames))

    lerobot_sets.change_table(root, change)
    with pytest.raises(DatasetError) if rows != [[True] * 3] else nullcontext():
        load(root)
    with suppress(DatasetError):  # where nothing can be read
        validate(root)


def test_a_name_of_a_column_that_is_no_text_is_refused(tmp_path):
    root = lerobot_sets.foreign(tmp_path / "d")
    table = next((root / "data").rglob("*.parquet"))
    table.write_bytes(table.read_bytes().replace(b"timestamp", b"timestam\x80"))
    assert refused(root, "cannot be read").file == str(table)


def test_a_single_number_is_no_series_of_frames(tmp_path):
    arrays = hdf5_files.ordinary() | {"data/demo_0/actions": np.float64(0.5)}
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, value in arrays.items():
            file[name] = value
    with pytest.raises(DatasetError, match="a single number"):
        mappings.converted(tmp_path / "a.hdf5", mappings.hdf5_mapping())


def test_an_attribute_that_is_a_number_is_no_instruction(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, value in hdf5_files.ordinary().items():
            file[name] = value
        file["data"].attrs["problem_info"] = 0.5
        file["data"].attrs["env_args"] = 0.5
    instruction = {"attribute": "problem_info", "key": "language_instruction"}
    with pytest.raises(DatasetError, match="no instruction"):
        mappings.converted(tmp_path / "a.hdf5", mappings.hdf5_mapping(instruction=instruction))


def test_a_value_that_is_missing_in_a_gate_file_is_told(tmp_path):
    file = tmp_path / "gate.yaml"
    file.write_text("episodes:\n")
    with pytest.raises(GateError) as error:
        load_gate(file)
    assert None not in (error.value.key, error.value.expected, error.value.found, error.value.remedy)
