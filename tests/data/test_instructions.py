"""Instructions belong to frames: looked up by their number, and kept where they change within an episode."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from benchmarks.shared.plausible_state import plausible_state
from vla_agent.contract.tabletop import tabletop_contract
from vla_agent.data.convert.convert import convert
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.arrow_columns import numbered_tasks
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode, load_part, save_part
from vla_agent.data.validate.validate import validate
from vla_agent.errors import DatasetError
from vla_agent.training.demonstrations import load_demonstrations

TASKS = "meta/tasks.parquet"


@pytest.fixture
def dataset(tmp_path):
    """Two episodes of ten frames, "press 0" and "press 1", that may be changed: without the project's own hashes."""
    contract = tabletop_contract((16, 16))
    noise = np.random.default_rng(0)
    episodes = []
    for number in range(2):
        shapes = {name: f["shape"] for name, f in dataset_schema.vector_features(contract, annotations=False).items()}
        columns = {name: 0.01 * noise.random((10, *shape)) for name, shape in shapes.items()}
        columns[dataset_schema.STATE] = np.stack([plausible_state(contract, noise) for _ in range(10)])
        images = {c.name: noise.integers(0, 255, (10, 16, 16, 3)).astype(np.uint8) for c in contract.cameras}
        episodes.append(encode(Episode(f"press {number}", columns, images), "images", 20))
    folder = write_dataset(tmp_path / "dataset", contract, episodes, "images")
    (folder / "meta/manifest.json").unlink()
    return folder


def renumber(folder, numbers):
    """Give the instructions and their frames other numbers: old -> new."""
    table = pq.read_table(folder / TASKS)
    changed = pa.array([numbers[n] for n in table["task_index"].to_pylist()], pa.int64())
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", changed), folder / TASKS)
    set_frames(folder, lambda tasks: np.array([numbers[n] for n in tasks.tolist()]))


def set_frames(folder, change):
    (file,) = (folder / "data").rglob("*.parquet")
    table = pq.read_table(file)
    tasks = pa.array(change(table["task_index"].to_numpy()), pa.int64())
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", tasks), file)


def test_instructions_are_looked_up_by_number_not_counted(dataset):
    before = load(dataset).arrays()["task"].tolist()
    renumber(dataset, {0: 7, 1: 3})
    assert load(dataset).arrays()["task"].tolist() == before and sorted(load(dataset).tasks) == [3, 7]
    assert [f for f in validate(dataset) if f.error] == []


def test_a_number_without_an_instruction_is_refused_by_load_and_validate(dataset):
    renumber(dataset, {0: 7, 1: 3})
    set_frames(dataset, lambda tasks: np.where(np.arange(len(tasks)) == 2, 0, tasks))
    with pytest.raises(DatasetError, match="does not exist") as caught:
        load(dataset)
    assert caught.value.found == "0" and caught.value.expected == "3, 7"
    assert any(f.error and f.key == "task_index" for f in validate(dataset))


@pytest.mark.parametrize(
    ("numbers", "texts"), [([0, 0], ["a", "b"]), ([0, None], ["a", "b"]), ([0, 1.5], ["a", "b"]), ([0], [None])]
)
def test_numbers_that_are_none_or_there_twice_are_refused(numbers, texts):
    with pytest.raises(ValueError, match="twice|None|1.5"):
        numbered_tasks(numbers, texts)


def test_an_instruction_for_each_frame_goes_through_conversion_and_training(dataset, tmp_path):
    set_frames(dataset, lambda tasks: np.where(np.arange(len(tasks)) < 5, 0, 1))
    source = load(dataset)
    texts, length = source.arrays()["task"].tolist(), source.episodes[0].length
    assert len(set(texts[:length])) == 2, "the first episode has two instructions"
    mapping = {
        "format": "lerobot",
        "control_hz": 20,
        "storage": "images",
        "cameras": [{"name": "front", "at": "observation.images.front", "height": 16, "width": 16}],
        "state": [{"name": "q", "at": "observation.state", "pick": [0], "unit": "m"}],
        "action": [{"name": "u", "at": "observation.state", "pick": [0], "delta": "next", "unit": "m"}],
        "instruction": {"own": True},
    }
    YAML().dump(json.loads(json.dumps(mapping)), tmp_path / "mapping.yaml")
    report = convert(dataset, tmp_path / "mapping.yaml", tmp_path / "made")
    assert report["episodes"][0]["instructions"] == [texts[0], texts[5]]
    made = load(tmp_path / "made")
    assert made.arrays()["task"][: length - 1].tolist() == texts[: length - 1]
    assert not [f for f in validate(tmp_path / "made") if f.check == "instructions"]
    demos = load_demonstrations((str(tmp_path / "made"),), 16, annotated=False)
    assert [demos.instructions[k] for k in demos.task[:6]] == texts[:6]
    _, valid = demos.chunks(np.array([2]), 16)
    assert valid[0].tolist() == [1.0] * 3 + [0.0] * 13, "a chunk ends where the instruction changes"


def test_the_frames_count_where_the_table_of_episodes_names_another_instruction(dataset):
    set_frames(dataset, lambda tasks: 1 - tasks)
    assert load(dataset).arrays()["task"].tolist() == ["press 1"] * 10 + ["press 0"] * 10
    found = validate(dataset)
    assert [(f.episode, f.error) for f in found if f.check == "instructions"] == [(0, False), (1, False)]


def test_a_part_file_keeps_the_instruction_of_each_frame(tmp_path):
    images = {"front": np.zeros((3, 8, 8, 3), np.uint8)}
    episode = Episode("a", {"action": np.zeros((3, 1))}, images, frame_tasks=("a", "a", "b"))
    save_part(tmp_path / "part.npz", encode(episode, "images", 10))
    assert load_part(tmp_path / "part.npz").task_of_frames == ("a", "a", "b")
    with pytest.raises(DatasetError, match="different lengths"):
        encode(Episode("a", {"action": np.zeros((2, 1))}, {"front": images["front"][:2]}, {}, ("a",) * 3), "images", 10)
