"""Edited datasets: what is taken is the original's, bit for bit where it can be; the original is never touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_agent.cli import main
from vla_agent.cli.learn.data import as_ranges, parse_ranges
from vla_agent.contract import Camera, Contract, Field
from vla_agent.data.edit import edit, episode_copy
from vla_agent.data.edit.edit import edit_dataset, split_dataset
from vla_agent.data.edit.edit_plan import Edit, plan
from vla_agent.data.lerobot import dataset_schema
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.lerobot.dataset_writer import write_dataset
from vla_agent.data.lerobot.episode import Episode, encode
from vla_agent.data.lerobot.media import GOP
from vla_agent.data.validate.validate import validate
from vla_agent.errors import ContractError, DatasetError, OptionError

SIZE = 32
CONTRACT = Contract(
    cameras=(Camera("front", SIZE, SIZE), Camera("wrist", SIZE, SIZE)),
    state=(Field("ee_position", 3, "m", "base"), Field("gripper", 1, "")),
    action=(Field("ee_translation", 3, "m", "base"), Field("gripper", 1, "")),
    control_hz=20.0,
    chunk_length=16,
)
LENGTHS = (23, 25, 21, 24)


def make(root: Path, storage: str, seed: int = 0, contract: Contract = CONTRACT, **origin: object) -> Path:
    """Four episodes with random values; their images show the frame by a moving square."""
    rng = np.random.default_rng(seed)
    episodes = []
    for number, length in enumerate(LENGTHS):
        features = dataset_schema.vector_features(contract, annotations=True)
        columns = {n: rng.random((length, f["shape"][0])).astype(np.float32) for n, f in features.items()}
        images = {}
        for camera in contract.cameras:
            frames = rng.integers(0, 40, (length, camera.height, camera.width, 3)).astype(np.uint8)
            for k in range(length):
                frames[k, 4:12, k : k + 8] = 200 if camera.name == "front" else (20, 20, 200)
            images[camera.name] = frames
        task = f"put object {number % 3} away"
        episodes.append(encode(Episode(task, columns, images, {"seed": seed + number} | origin), storage, 20))
    return write_dataset(root, contract, episodes, storage, "arm", {"tasks": [f"t{seed}"]})


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("datasets")
    return {storage: make(root / storage, storage) for storage in ("images", "video")}


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def same(new: Path, pairs: list[tuple[Path, int, int, int]]) -> None:
    """The episodes of ``new`` are these frames of these episodes, in values, images, instruction and origin."""
    made = load(new)
    assert len(made.episodes) == len(pairs)
    for episode, (root, number, first, stop) in zip(made.episodes, pairs, strict=True):
        source = load(root)
        old = source.episodes[number]
        rows, wanted = slice(episode.start, episode.stop), range(old.start + first, old.start + stop)
        for name in dataset_schema.vector_features(CONTRACT):
            np.testing.assert_array_equal(made.columns[name][rows], source.columns[name][wanted.start : wanted.stop])
        for camera in made.cameras:
            found = made.frames(camera, range(episode.start, episode.stop))
            np.testing.assert_array_equal(found, source.frames(camera, wanted))
        assert episode.task == old.task and episode.origin["seed"] == old.origin["seed"]


@pytest.mark.parametrize("storage", ["images", "video"])
def test_an_episode_is_left_out_and_the_original_stays(datasets, tmp_path, storage):
    root = datasets[storage]
    before = files(root)
    record = edit_dataset(root, tmp_path / "new", Edit(leave_out=frozenset({1})))
    same(tmp_path / "new", [(root, k, 0, LENGTHS[k]) for k in (0, 2, 3)])
    assert files(root) == before and record["encoded_again"] == [] and record["left_out"] == [1]
    assert [f.text() for f in validate(tmp_path / "new") if f.error] == []
    assert load(tmp_path / "new").contract == CONTRACT
    kept = load(tmp_path / "new").collection
    assert kept["tasks"] == ["t0"] and kept["edited"]["from"][0]["sha256"] == load(root).hash


@pytest.mark.parametrize("storage", ["images", "video"])
def test_datasets_are_merged_and_their_origins_keep_every_key(datasets, tmp_path, storage):
    root, other = datasets[storage], make(tmp_path / "other", storage, seed=50, operator="ann")
    edit_dataset(root, tmp_path / "new", Edit(keep=frozenset({0, 3})), [other])
    same(tmp_path / "new", [(root, 0, 0, 23), (root, 3, 0, 24), *((other, k, 0, n) for k, n in enumerate(LENGTHS))])
    made = load(tmp_path / "new")
    assert [e.origin["operator"] for e in made.episodes] == [None] * 2 + ["ann"] * 4
    assert made.collection["tasks"] == ["t0", "t50"]
    assert [f for f in validate(tmp_path / "new") if f.error] == []


@pytest.mark.parametrize(("storage", "first"), [("images", 3), ("video", GOP), ("video", 0)])
def test_a_trim_at_a_key_frame_loses_nothing(datasets, tmp_path, storage, first):
    record = edit_dataset(datasets[storage], tmp_path / "new", Edit(frozenset({1, 2, 3}), trims={0: (first, 17)}))
    same(tmp_path / "new", [(datasets[storage], 0, first, 18)])
    assert record["encoded_again"] == [] and record["trimmed"] == {"0": [first, 17]}


def test_a_video_that_does_not_begin_with_a_key_frame_is_encoded_again_and_that_is_said(datasets, tmp_path, capsys):
    words = ["data", "edit", str(datasets["video"]), "--trim", "2:3-20", "-o", str(tmp_path / "new")]
    assert main(words) == 0
    assert "episode 2: front, wrist encoded again (lossy)" in capsys.readouterr().out
    made, source = load(tmp_path / "new"), load(datasets["video"])
    assert made.collection["edited"]["encoded_again"] == [{"episode": 2, "cameras": ["front", "wrist"]}]
    episode, start = made.episodes[2], source.episodes[2].start
    assert episode.length == 18
    for k in (0, 17):
        difference = made.frames("front", [episode.start + k]).astype(int) - source.frames("front", [start + 3 + k])
        assert np.abs(difference).mean() < 4


def test_a_copy_that_does_not_decode_to_the_same_images_is_not_kept(datasets, tmp_path, monkeypatch):
    cut = episode_copy.cut_video
    monkeypatch.setattr(episode_copy, "cut_video", lambda path, a, b, fps: cut(path, a, b - 1, fps))
    record = edit_dataset(datasets["video"], tmp_path / "new", Edit(keep=frozenset({0})))
    assert record["encoded_again"] and len(load(tmp_path / "new")) == LENGTHS[0]


def test_videos_of_another_form_go_to_another_file(datasets, tmp_path, monkeypatch):
    from vla_agent.data.lerobot.media import STORAGES, VideoStorage

    other = VideoStorage("libx264", "yuv444p", STORAGES["video"].options)
    monkeypatch.setitem(STORAGES, "video", other)
    more = make(tmp_path / "more", "video", seed=9)
    monkeypatch.undo()
    edit_dataset(datasets["video"], tmp_path / "new", Edit(), [more])
    same(tmp_path / "new", [(root, k, 0, n) for root in (datasets["video"], more) for k, n in enumerate(LENGTHS)])
    assert {e.video_files["front"] for e in load(tmp_path / "new").episodes} == {(0, 0), (0, 1)}


def test_a_split_writes_all_parts_or_none(datasets, tmp_path):
    root = datasets["images"]
    parts = {"train": frozenset({0, 1}), "test": frozenset({3})}
    split_dataset(root, tmp_path / "new", parts, Edit())
    same(tmp_path / "new" / "train", [(root, 0, 0, 23), (root, 1, 0, 25)])
    same(tmp_path / "new" / "test", [(root, 3, 0, 24)])
    with pytest.raises(OptionError, match="no such episode"):
        split_dataset(root, tmp_path / "half", parts | {"more": frozenset({4})}, Edit())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new"]


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (Edit(leave_out=frozenset({4})), "--leave-out"),
        (Edit(keep=frozenset({0, 4})), "--keep"),
        (Edit(trims={4: (0, 1)}), "--trim"),
        (Edit(frozenset({0}), trims={0: (0, 1)}), "--trim"),
        (Edit(trims={0: (0, 23)}), "--trim 0:0-23"),
        (Edit(trims={0: (5, 4)}), "--trim 0:5-4"),
    ],
)
def test_what_is_not_there_is_refused(datasets, tmp_path, edit, key):
    with pytest.raises(OptionError) as caught:
        edit_dataset(datasets["images"], tmp_path / "new", edit)
    assert caught.value.key == key and not list(tmp_path.iterdir())


def test_the_last_frame_and_the_last_episode_can_be_named(datasets, tmp_path):
    edit_dataset(datasets["images"], tmp_path / "new", Edit(frozenset({0, 1, 2}), trims={3: (23, 23)}))
    same(tmp_path / "new", [(datasets["images"], 3, 23, 24)])


def test_nothing_left_and_an_existing_folder_are_refused(datasets, tmp_path):
    with pytest.raises(DatasetError, match="no episode is left"):
        edit_dataset(datasets["images"], tmp_path / "new", Edit(leave_out=frozenset(range(4))))
    before = files(datasets["images"])
    with pytest.raises(DatasetError, match="output folder exists"):
        edit_dataset(datasets["images"], datasets["images"], Edit(keep=frozenset({0})))
    with pytest.raises(DatasetError, match="output folder exists"):
        split_dataset(datasets["images"], datasets["images"], {"a": frozenset({0})}, Edit())
    assert files(datasets["images"]) == before


def test_datasets_that_do_not_fit_together_are_refused(datasets, tmp_path):
    with pytest.raises(DatasetError, match="stored differently"):
        edit_dataset(datasets["images"], tmp_path / "new", Edit(), [datasets["video"]])
    faster = Contract(CONTRACT.cameras, CONTRACT.state, CONTRACT.action, 10.0, 16)
    with pytest.raises(ContractError, match="do not fit together"):
        edit_dataset(datasets["images"], tmp_path / "new", Edit(), [make(tmp_path / "slow", "images", contract=faster)])
    assert not (tmp_path / "new").exists()


def change_info(root: Path, to: Path, **features: object) -> Path:
    shutil.copytree(root, to)
    (to / dataset_schema.MANIFEST).unlink()
    info = json.loads((to / dataset_schema.INFO).read_text())
    info["features"] |= features
    (to / dataset_schema.INFO).write_text(json.dumps(info))
    return to


def test_a_column_that_would_be_lost_is_named(datasets, tmp_path):
    text = {"dtype": "string", "shape": [1], "names": None}
    root = change_info(datasets["images"], tmp_path / "more", note=text)
    with pytest.raises(DatasetError) as caught:
        edit_dataset(root, tmp_path / "new", Edit(keep=frozenset({0})))
    assert caught.value.key == "note"


def test_a_damaged_episode_can_be_left_out_and_only_then(datasets, tmp_path):
    """The dataset cannot be loaded; its other episodes can be rescued, and the record has no hash of it."""
    root = tmp_path / "damaged"
    shutil.copytree(datasets["images"], root)
    (file,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(file)
    owners = table["episode_index"].to_numpy().copy()
    owners[30] = 3  # a row of episode 1 is another's
    columns = table.set_column(table.column_names.index("episode_index"), "episode_index", [owners])
    pq.write_table(columns, file)
    with pytest.raises(DatasetError):
        load(root)
    with pytest.raises(DatasetError, match="--leave-out 1"):
        edit_dataset(root, tmp_path / "new", Edit(leave_out=frozenset({0})))
    record = edit_dataset(root, tmp_path / "new", Edit(leave_out=frozenset({1})))
    same(tmp_path / "new", [(datasets["images"], k, 0, LENGTHS[k]) for k in (0, 2, 3)])
    assert record["from"][0]["sha256"] is None
    assert [f for f in validate(tmp_path / "new") if f.error] == []


def test_the_instruction_of_each_frame_is_kept(datasets, tmp_path):
    root = tmp_path / "several"
    shutil.copytree(datasets["images"], root)
    (root / "meta/manifest.json").unlink()
    set_tasks(root, lambda tasks: np.where(np.arange(len(tasks)) < 5, tasks, 1))
    first, second = load(root).tasks[0], load(root).tasks[1]
    edit_dataset(root, tmp_path / "new", Edit(keep=frozenset({0}), trims={0: (2, 7)}))
    made = load(tmp_path / "new")
    assert made.arrays()["task"].tolist() == [first] * 3 + [second] * 3
    assert [f for f in validate(tmp_path / "new") if f.error] == []
    edit_dataset(root, tmp_path / "cut", Edit(keep=frozenset({0}), trims={0: (0, 4)}))
    assert load(tmp_path / "cut").tasks == {0: first}


def test_a_frame_whose_instruction_does_not_exist_has_to_be_left_out(datasets, tmp_path):
    root = tmp_path / "unknown"
    shutil.copytree(datasets["images"], root)
    set_tasks(root, lambda tasks: np.where(np.arange(len(tasks)) == 3, 7, tasks))
    with pytest.raises(DatasetError, match="does not exist") as caught:
        edit_dataset(root, tmp_path / "new", Edit(keep=frozenset({0})))
    assert "--leave-out 0" in caught.value.remedy and not (tmp_path / "new").exists()


def set_tasks(root, change):
    """Change the task numbers of the frames."""
    (file,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(file)
    tasks = change(table["task_index"].to_numpy())
    pq.write_table(table.set_column(table.column_names.index("task_index"), "task_index", [tasks]), file)


def test_a_dataset_that_changes_meanwhile_is_refused(datasets, tmp_path, monkeypatch):
    root = tmp_path / "changing"
    shutil.copytree(datasets["images"], root)
    copy = edit.copy_episode

    def copied(*arguments):
        (root / "meta/new.txt").write_text("another program was here")
        return copy(*arguments)

    monkeypatch.setattr(edit, "copy_episode", copied)
    with pytest.raises(DatasetError):
        edit_dataset(root, tmp_path / "new", Edit(keep=frozenset({0})))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["changing"]


def test_origins_of_several_types_become_text(datasets, tmp_path):
    other = make(tmp_path / "other", "images", seed=3, family="a")
    more = make(tmp_path / "more", "images", seed=4, family=7)
    edit_dataset(other, tmp_path / "new", Edit(keep=frozenset({0})), [more])
    assert {e.origin["family"] for e in load(tmp_path / "new").episodes} == {"a", "7"}


def test_validate_says_which_command_leaves_the_episodes_out(datasets, tmp_path, capsys):
    root = tmp_path / "blank"
    shutil.copytree(datasets["images"], root)
    table = root / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(table).to_pylist()
    rows[2]["tasks"] = rows[3]["tasks"] = [" "]
    pq.write_table(pa.Table.from_pylist(rows), table)
    assert main(["data", "validate", str(root)]) == 1
    printed = capsys.readouterr().out
    assert f"next: vla-agent data edit {root} --leave-out 2-3 -o NEW" in printed
    assert main(["data", "edit", str(root), "--leave-out", "2-3", "-o", str(tmp_path / "new")]) == 0
    assert main(["data", "validate", str(tmp_path / "new")]) == 0
    (root / "meta/contract.json").unlink()
    assert main(["data", "edit", str(root), "--leave-out", "2-3", "-o", str(tmp_path / "other")]) == 2
    assert main(["data", "validate", str(root)]) == 1
    assert "data edit" not in capsys.readouterr().out, "no command is advised that is refused"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--leave-out", "x"],
        ["--keep", "2-1"],
        ["--trim", "1:2"],
        ["--split", "0-1"],
        ["--split", "a/b=0"],
        ["--split", "a=0", "--split", "a=1"],
        ["--split", "a=0-1", "--split", "b=1"],
        ["--split", "a=0", "--keep", "0"],
    ],
)
def test_options_of_another_form_are_refused(datasets, tmp_path, capsys, options):
    assert main(["data", "edit", str(datasets["images"]), *options, "-o", str(tmp_path / "new")]) == 2
    assert "remedy" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_an_edit_needs_an_output(datasets, capsys):
    assert main(["data", "edit", str(datasets["images"]), "--leave-out", "1"]) == 2
    assert "-o" in capsys.readouterr().err


@given(st.sets(st.integers(0, 60), min_size=1))
def test_ranges_are_read_as_they_are_written(numbers):
    text = as_ranges(sorted(numbers))
    assert parse_ranges(text) == sorted(numbers) and ",," not in text


@pytest.fixture(scope="module")
def dataset(datasets):
    return load(datasets["images"])


@settings(max_examples=50)
@given(data=st.data())
def test_a_plan_takes_exactly_the_frames_that_are_asked_for(dataset, data):
    """Against the definition, frame by frame, on any combination of options."""
    numbers = st.frozensets(st.integers(0, len(LENGTHS) - 1))
    leave_out, keep = data.draw(numbers), data.draw(st.none() | numbers)
    taken = (set(range(len(LENGTHS))) if keep is None else set(keep)) - leave_out
    trims = {}
    for number in sorted(taken):
        ends = data.draw(st.none() | st.tuples(*[st.integers(0, LENGTHS[number] - 1)] * 2))
        if ends:
            trims[number] = (min(ends), max(ends))
    edit = Edit(leave_out, keep, trims)
    if not taken:
        with pytest.raises(DatasetError, match="no episode is left"):
            plan(dataset, edit)
        return
    found = [(p.episode.index, k) for p in plan(dataset, edit) for k in range(p.first, p.stop)]
    wanted = [
        (number, k)
        for number in sorted(taken)
        for k in range(LENGTHS[number])
        if number not in trims or trims[number][0] <= k <= trims[number][1]
    ]
    assert found == wanted
