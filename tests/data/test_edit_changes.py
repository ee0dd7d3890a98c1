"""Edits that change content: instructions, and the rate with its actions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

from vla_agent.cli import main
from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.edit.edit import edit_dataset, split_dataset
from vla_agent.data.edit.edit_plan import Edit
from vla_agent.data.edit.rate_change import slower_columns, slower_contract
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import Dataset, load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.data.validate.validate import validate
from vla_agent.errors import DatasetError, OptionError

TURN = Field("ee_rotation", 3, "rad per period", "base", -0.15, 0.15, "rotation vector")
CONTRACT = Contract(
    cameras=(Camera("front", 16, 16),),
    state=(Field("ee_position", 3, "m", "base"), Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0)),
    action=(
        Field("ee_translation", 3, "m per period", "base", -0.025, 0.025),
        TURN,
        Field("joint_position", 2, "rad"),
        Field("gripper", 1, "0 open to 1 closed", low=0.0, high=1.0),
    ),
    control_hz=20.0,
    chunk_length=8,
)
LENGTHS = (12, 15, 11)
TASKS = ("lift the cup", "push the cup", "lift the cup")


def make(root: Path, storage: str, contract: Contract = CONTRACT) -> Path:
    """Three episodes; a square in each image shows its frame."""
    rng = np.random.default_rng(0)
    episodes = []
    for number, length in enumerate(LENGTHS):
        features = dataset_schema.vector_features(contract, annotations=True)
        columns = {n: rng.random((length, f["shape"][0])).astype(np.float32) for n, f in features.items()}
        columns["action"][:, :3] = rng.uniform(-0.025, 0.025, (length, 3))
        columns["action"][:, 3:6] = rng.uniform(-0.14, 0.14, (length, 3))
        columns[dataset_schema.CLEAN][:] = 1.0
        columns[dataset_schema.CLEAN][5] = 0.0
        images = np.full((length, 16, 16, 3), 60, np.uint8)
        for k in range(length):
            images[k, 4:12, k : k + 2] = (200, 200, 200)
        episodes.append(encode(Episode(TASKS[number], columns, {"front": images}, {"seed": number}), storage, 20))
    return write_dataset(root, contract, episodes, storage, "arm", {"tasks": ["cups"]})


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("datasets")
    return {storage: make(root / storage, storage) for storage in ("images", "video")}


def tasks(root: Path) -> list[str]:
    made = load(root)
    return [made.arrays()["task"][e.start] for e in made.episodes]


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# Instructions


def test_an_instruction_is_renamed_in_every_frame_that_has_it(datasets, tmp_path, capsys):
    before = files(datasets["images"])
    words = ["data", "edit", str(datasets["images"]), "--rename", "lift the cup=pick up the cup"]
    assert main([*words, "-o", str(tmp_path / "new")]) == 0
    assert "1 instructions renamed" in capsys.readouterr().out
    assert tasks(tmp_path / "new") == ["pick up the cup", "push the cup", "pick up the cup"]
    assert [e.task for e in load(tmp_path / "new").episodes] == tasks(tmp_path / "new")
    assert load(tmp_path / "new").collection["edited"]["renamed"] == {"lift the cup": "pick up the cup"}
    assert files(datasets["images"]) == before
    assert [f.text() for f in validate(tmp_path / "new") if f.error] == []


def test_episodes_get_an_instruction_which_counts_before_a_rename(datasets, tmp_path):
    words = ["data", "edit", str(datasets["images"]), "--instruction", "0,1= a = b "]
    assert main([*words, "--rename", "lift the cup=take it", "-o", str(tmp_path / "new")]) == 0
    assert tasks(tmp_path / "new") == ["a = b", "a = b", "take it"]
    assert load(tmp_path / "new").collection["edited"]["instructions"] == {"0": "a = b", "1": "a = b"}


def test_two_instructions_can_be_exchanged_and_merged_episodes_are_renamed_too(datasets, tmp_path):
    swap = {"lift the cup": "push the cup", "push the cup": "lift the cup"}
    edit_dataset(datasets["images"], tmp_path / "new", Edit(keep=frozenset({1}), renames=swap), [datasets["images"]])
    assert tasks(tmp_path / "new") == ["lift the cup", "push the cup", "lift the cup", "push the cup"]


def test_an_instruction_that_does_not_exist_is_repaired(tmp_path):
    root = make(tmp_path / "bad", "images")
    (root / "meta/manifest.json").unlink()
    (file,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(file)
    numbers = table["task_index"].to_numpy().copy()
    numbers[0] = 9
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", [numbers]), file)
    with pytest.raises(DatasetError, match="does not exist"):
        edit_dataset(root, tmp_path / "new", Edit(renames={"push the cup": "push it"}))
    edit_dataset(root, tmp_path / "new", Edit(instructions={0: "lift it"}))
    assert tasks(tmp_path / "new") == ["lift it", "push the cup", "lift the cup"]


def test_a_split_changes_the_instructions_of_each_part(datasets, tmp_path):
    parts = {"a": frozenset({0}), "b": frozenset({1, 2})}
    edit = Edit(instructions={2: "open it"}, renames={"push the cup": "push it"})
    split_dataset(datasets["images"], tmp_path / "new", parts, edit)
    assert tasks(tmp_path / "new/a") == ["lift the cup"] and tasks(tmp_path / "new/b") == ["push it", "open it"]


@pytest.mark.parametrize(
    "options",
    [
        ["--rename", "lift the cup"],
        ["--rename", "lift the cup= 3 "],
        ["--rename", "lift the cup=a", "--rename", "lift the cup=b"],
        ["--rename", "lift a cup=a"],
        ["--rename", "push the cup=a", "--leave-out", "1"],
        ["--rename", "push the cup=a", "--instruction", "1=b"],
        ["--instruction", "1"],
        ["--instruction", "1="],
        ["--instruction", "1=a", "--instruction", "0-2=b"],
        ["--instruction", "3=a"],
        ["--instruction", "1=a", "--leave-out", "1"],
        ["--fps", "8"],
        ["--fps", "20"],
        ["--fps", "0"],
        ["--fps", "40"],
    ],
)
def test_changes_that_cannot_be_made_are_refused(datasets, tmp_path, capsys, options):
    assert main(["data", "edit", str(datasets["images"]), *options, "-o", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert "remedy" in said and options[0] in said and not list(tmp_path.iterdir())


# The rate


def poses(actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions and rotations (n + 1) of an arm that follows the actions (n, A)."""
    positions, rotations = [np.zeros(3)], [np.eye(3)]
    for row in actions.astype(np.float64):
        positions.append(positions[-1] + row[:3])
        rotations.append(Rotation.from_rotvec(row[3:6]).as_matrix() @ rotations[-1])
    return np.array(positions), np.array(rotations)


def same_motion(old: Dataset, new: Dataset, every: int) -> None:
    for before, after in zip(old.episodes, new.episodes, strict=True):
        fine = old.columns["action"][before.start : before.start + after.length * every]
        coarse = new.columns["action"][after.start : after.stop]
        for slow, fast in zip(poses(coarse), poses(fine), strict=True):
            np.testing.assert_allclose(slow, fast[::every], atol=1e-5)
        np.testing.assert_array_equal(coarse[:, 6:], fine[every - 1 :: every, 6:])


@pytest.mark.parametrize(("storage", "fps"), [("images", 10), ("images", 4), ("video", 10), ("video", 5)])
def test_a_lower_rate_keeps_the_motion(datasets, tmp_path, storage, fps, capsys):
    before, every = files(datasets[storage]), 20 // fps
    words = ["data", "edit", str(datasets[storage]), "--fps", str(fps), "-o", str(tmp_path / "new")]
    assert main(words) == 0
    old, new = load(datasets[storage]), load(tmp_path / "new")
    assert files(datasets[storage]) == before
    assert new.fps == new.contract.control_hz == fps
    assert [e.length for e in new.episodes] == [n // every for n in LENGTHS]
    same_motion(old, new, every)
    for after, start in zip(new.episodes, (e.start for e in old.episodes), strict=True):
        kept = start + every * np.arange(after.length)
        for name in (dataset_schema.STATE, dataset_schema.SUBGOAL, dataset_schema.POINTS):
            np.testing.assert_array_equal(new.columns[name][after.start : after.stop], old.columns[name][kept])
        clean = new.columns[dataset_schema.CLEAN].ravel()[after.start : after.stop]
        assert [k for k, value in enumerate(clean) if value == 0] == [5 // every]
        found = new.frames("front", range(after.start, after.stop)).astype(float)
        away = np.abs(found - old.frames("front", kept)).mean(axis=(1, 2, 3))
        assert away.max() <= (4.0 if storage == "video" else 0.0)
    cut = sum(n % every for n in LENGTHS)
    assert new.collection["edited"]["fps"] == {"from": 20, "to": fps, "cut": cut}
    assert f"20 -> {fps} Hz, {cut} frames cut off" in capsys.readouterr().out
    assert [f.text() for f in validate(tmp_path / "new") if f.error] == []


def test_limits_of_changes_grow_with_the_period_and_those_of_targets_do_not(datasets, tmp_path):
    edit_dataset(datasets["images"], tmp_path / "new", Edit(fps=5, trims={0: (2, 9)}))
    made = load(tmp_path / "new").contract
    limits = {f.name: (f.low, f.high) for f in made.action}
    assert limits["ee_translation"] == (-0.1, 0.1) and limits["ee_rotation"] == (-0.6, 0.6)
    assert limits["gripper"] == (0.0, 1.0) and made.state == CONTRACT.state and made.chunk_length == 8


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([[0.02, 0, 0], [0.04, 0, 0], [0, 0, 0], [0, 0, 0]], "frame 4: action.ee_translation"),
        ([[0, 0, 0], [0, 0, 0], [0.05, 0, 0], [0.0, np.nan, 0]], "frame 6: action.action"),
    ],
)
def test_a_combined_change_beyond_its_limits_is_refused_by_episode_and_frame(rows, where):
    contract = Contract(CONTRACT.cameras, CONTRACT.state, CONTRACT.action[:1], 20.0, 8)
    columns = {"action": np.array(rows, np.float32)}
    with pytest.raises(DatasetError) as caught:
        slower_columns(columns, contract, 2, (Path("data"), 7, 4))
    assert caught.value.key.startswith("episode 7") and caught.value.key.endswith(
        where.replace("action.action", "action.action")
    )


def test_more_than_half_a_turn_in_a_period_is_refused():
    wide = Field("ee_rotation", 3, "deg per period", "base", rotation="rotation vector")
    contract = Contract(CONTRACT.cameras, CONTRACT.state, (wide,), 20.0, 8)
    columns = {"action": np.array([[80, 0, 0], [90, 0, 0], [100, 0, 0], [100, 0, 0]], np.float32)}
    np.testing.assert_allclose(
        slower_columns({"action": columns["action"][:2]}, contract, 2, (Path("data"), 0, 0))["action"],
        [[170, 0, 0]],
        rtol=1e-5,
    )
    with pytest.raises(DatasetError, match="half a turn"):
        slower_columns(columns, contract, 2, (Path("data"), 0, 0))


@pytest.mark.parametrize(
    "field",
    [
        Field("ee_translation", 3, "m", "base"),
        Field("twist", 3, "m/s", "base"),
        Field("speed", 2, "rad per second"),
        Field("a", 3, "1"),
        Field("ee_translation", 3, "m per period", "tool"),
        Field("ee_rotation", 3, "rad per period", "", rotation="rotation vector"),
        Field("ee_rotation", 6, "1 per period", "base", rotation="matrix columns 1, 2"),
    ],
    ids=lambda field: f"{field.name}-{field.unit}",
)
def test_actions_that_are_neither_changes_nor_targets_are_refused(field):
    contract = Contract(CONTRACT.cameras, CONTRACT.state, (field,), 20.0, 8)
    with pytest.raises(DatasetError) as caught:
        slower_contract(contract, 2, Path("data"))
    assert caught.value.key == f"action.{field.name}"


def test_an_episode_shorter_than_a_new_period_is_named(datasets, tmp_path):
    with pytest.raises(DatasetError, match="--leave-out 2"):
        edit_dataset(datasets["images"], tmp_path / "new", Edit(fps=1, keep=frozenset({2})))
    with pytest.raises(OptionError, match="10, 5, 4, 2, 1"):
        edit_dataset(datasets["images"], tmp_path / "new", Edit(fps=3))
