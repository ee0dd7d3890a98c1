"""What a conversion leaves out because its mapping says so, and what must not be taken or ignored without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.inputs.makers import bags, hdf5_files, lerobot_sets, mappings
from benchmarks.inputs.makers.bags import CAMERA
from benchmarks.inputs.makers.pictures import coded, encoded
from vla_agent.cli import main
from vla_agent.data.convert.convert import convert
from vla_agent.data.convert.mapping import load_mapping
from vla_agent.data.lerobot.dataset_reader import load
from vla_agent.data.validate.validate import validate
from vla_agent.errors import DatasetError

FRAMES = hdf5_files.FRAMES


def run(folder: Path, recordings: Path, mapping: dict) -> int:
    file = mappings.write_mapping(folder, mapping)
    return main(["data", "convert", str(recordings), "--mapping", str(file), "-o", str(folder / "out")])


# exclude


def groups(folder: Path) -> Path:
    """Two files: demo_0, demo_1 and a broken demo_2 in one, demo_0 in the other."""
    (folder / "r/day").mkdir(parents=True)
    broken = {f"data/demo_2/{name}": np.zeros(3) for name in ("obs/q", "actions")}
    arrays = hdf5_files.ordinary() | hdf5_files.ordinary("data/demo_1") | broken
    hdf5_files.write_hdf5(folder / "r/a.hdf5", arrays)
    hdf5_files.write_hdf5(folder / "r/day/b.hdf5", hdf5_files.ordinary())
    return folder / "r"


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (["demo_2"], ["a.hdf5/data/demo_0", "a.hdf5/data/demo_1", "b.hdf5/data/demo_0"]),
        (["a.hdf5/data/demo_[12]"], ["a.hdf5/data/demo_0", "b.hdf5/data/demo_0"]),
        (["a.hdf5"], ["b.hdf5/data/demo_0"]),
        (["day", "demo_2"], ["a.hdf5/data/demo_0", "a.hdf5/data/demo_1"]),
        (["day/*", "data/demo_2", "demo_0"], ["a.hdf5/data/demo_1"]),
    ],
)
def test_files_and_groups_are_left_out_by_pattern_and_nothing_is_missing(tmp_path, capsys, patterns, taken):
    assert run(tmp_path, groups(tmp_path), mappings.hdf5_mapping(exclude=patterns)) == 0
    report = load(tmp_path / "out").collection
    assert [entry["from"] for entry in report["episodes"]] == taken
    reasons = {entry["left_out"] for entry in report["left_out"]}
    assert reasons == {f"exclude of the mapping file names it: {pattern}" for pattern in patterns}
    said = capsys.readouterr().out
    assert "left out: exclude of the mapping file names it" in said and "names nothing" not in said


def test_without_exclude_the_broken_group_ends_the_conversion(tmp_path):
    assert run(tmp_path, groups(tmp_path), mappings.hdf5_mapping()) == 2


def test_a_pattern_that_names_nothing_is_said(tmp_path, capsys):
    mapping = mappings.hdf5_mapping(exclude=["demo_2", "demo_22", "Day"])
    assert run(tmp_path, groups(tmp_path), mapping) == 0
    said = capsys.readouterr().out
    assert "exclude: demo_22 names nothing here" in said and "exclude: Day names nothing here" in said
    assert "exclude: demo_2 names" not in said


def test_what_would_be_missing_can_be_excluded(tmp_path):
    bags.write_bag(tmp_path / "r", bags.ordinary(8))
    (tmp_path / "r/old.bag").write_bytes(b"#ROSBAG V2.0\n")
    assert run(tmp_path, tmp_path / "r", mappings.bag_mapping()) == 1
    shutil.rmtree(tmp_path / "out")
    assert run(tmp_path, tmp_path / "r", mappings.bag_mapping(exclude=["*.bag"])) == 0


def test_episodes_are_excluded_by_number(tmp_path):
    lerobot_sets.foreign(tmp_path / "r/set")
    assert run(tmp_path, tmp_path / "r", mappings.lerobot_mapping(exclude=["set/1"])) == 0
    report = load(tmp_path / "out").collection
    assert [e["number"] for e in report["episodes"]] == [0, 2] and report["left_out"][0]["number"] == 1
    bags.write_bag(tmp_path / "b/one", bags.ordinary(8))
    bags.write_bag(tmp_path / "b/two", bags.ordinary(8))
    file = mappings.write_mapping(tmp_path, mappings.bag_mapping(exclude=["one/0"]))
    report = convert(tmp_path / "b", file, tmp_path / "bags")
    assert [e["from"] for e in report["episodes"]] == ["two"]


def test_nothing_left_is_an_error(tmp_path, capsys):
    assert run(tmp_path, groups(tmp_path), mappings.hdf5_mapping(exclude=["*.hdf5"])) == 2
    assert "no episode is left" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["", ".", "/data", "../a", True])
def test_patterns_that_are_no_paths_below_the_recordings_are_refused(tmp_path, pattern):
    with pytest.raises(DatasetError, match="exclude"):
        load_mapping(mappings.write_mapping(tmp_path, mappings.hdf5_mapping(exclude=[pattern])))


# Cameras that change their size


def test_a_camera_that_changes_its_size_within_a_bag_is_refused(tmp_path):
    said = bags.ordinary(12)
    place = [k for k, one in enumerate(said) if one.topic == CAMERA][7]
    at = said[place].at
    said[place] = bags.Said(CAMERA, at, bags.coloured(at, 7, height=12, width=16))
    bag = bags.write_bag(tmp_path / "b", said)
    with pytest.raises(DatasetError, match="changes its size") as caught:
        mappings.converted(bag, mappings.bag_mapping())
    assert caught.value.key == f"{CAMERA}, message 7" and caught.value.found == "16 x 12"
    assert caught.value.expected.startswith("8 x 8")


def test_pictures_of_several_sizes_in_an_episode_are_refused(tmp_path):
    rows = [encoded(coded(k, *((8, 8) if k < 4 else (10, 12)))) for k in range(FRAMES)]
    arrays = hdf5_files.ordinary() | {"data/demo_0/obs/img": hdf5_files.byte_rows(rows, "padded")}
    file = hdf5_files.write_hdf5(tmp_path / "a.hdf5", arrays)
    with pytest.raises(DatasetError, match="changes its size") as caught:
        mappings.converted(file, mappings.hdf5_mapping())
    assert "frame 4" in caught.value.key and caught.value.found == "12 x 10"


# Outcomes of another length


@pytest.mark.parametrize("length", [FRAMES - 1, FRAMES + 1, 2])
def test_outcomes_of_another_length_than_the_episode_are_refused(tmp_path, length):
    arrays = hdf5_files.ordinary() | {"data/demo_0/success": np.ones(length)}
    file = hdf5_files.write_hdf5(tmp_path / "a.hdf5", arrays)
    with pytest.raises(DatasetError, match="does not fit") as caught:
        mappings.converted(file, mappings.hdf5_mapping(success={"dataset": "success"}))
    assert f"one for each of {FRAMES} frames" in caught.value.expected and str(length) in str(caught.value.found)


@pytest.mark.parametrize("outcome", [np.ones(FRAMES), np.ones((FRAMES, 1)), np.ones(1), np.float64(1)])
def test_one_outcome_or_one_for_each_frame_is_taken(tmp_path, outcome):
    arrays = hdf5_files.ordinary() | {"data/demo_0/success": outcome}
    file = hdf5_files.write_hdf5(tmp_path / "a.hdf5", arrays)
    assert len(mappings.converted(file, mappings.hdf5_mapping(success={"dataset": "success"}))) == FRAMES


# Files that no table names


@pytest.mark.parametrize(
    ("layout", "kind"), [("v3.0 images", "data"), ("v3.0 video", "videos"), ("v2.1 images", "data")]
)
def test_files_that_no_table_of_episodes_names_are_found_and_listed(tmp_path, layout, kind):
    root = lerobot_sets.foreign(tmp_path / "r/set", layout)
    assert [f for f in validate(root) if f.check == "counts"] == []
    suffix = {"data": ".parquet", "videos": ".mp4"}[kind]
    file = sorted((root / kind).rglob(f"*{suffix}"))[0]
    name = file.with_name(f"{file.stem[:-1]}7{suffix}").relative_to(root).as_posix()
    shutil.copy(file, root / name)
    (finding,) = (f for f in validate(root) if f.check == "counts")
    assert finding.key == name and not finding.error and load(root)
    assert run(tmp_path, tmp_path / "r", mappings.lerobot_mapping()) == 1
    left_out = load(tmp_path / "out").collection["left_out"]
    assert [(e["from"], e["left_out"][:18]) for e in left_out] == [(f"set/{name}", "no table of episod")]
    shutil.rmtree(tmp_path / "out")
    assert run(tmp_path, tmp_path / "r", mappings.lerobot_mapping(exclude=[name])) == 0
